// The board on the bench: W5500-EVB-Pico with a microSD card, wired as the firmware expects it.

import { Board } from './board.js';
import { drag, loadBootrom, loadElf } from './firmware.js';
import { Log } from './log.js';
import { MicroSd } from './microsd.js';
import { W5500 } from './w5500.js';

/**
 * @param {{ firmware: string, bootrom: string, archive?: string, flash?: Uint8Array, card?: object, latency?: object, warn?: Function }} parts
 *     the firmware's ELF, the boot ROM, a UF2 of `pinetboot pack` with that firmware in it or all of the flash, the card's image, the card's latency
 */
export function bench({ firmware, bootrom, archive, flash: content, card, latency, warn }) {
    const program = loadElf(firmware);
    const flash = content ? [{ address: 0x10000000, bytes: content }] : archive ? drag(archive) : program.flash;
    // The devices need the board's clock, the board its devices.
    const time = { now: 0, at: () => {} };
    const chip = new W5500(time, { negotiation: NEGOTIATION });
    const devices = [{ bus: 0, select: 17, device: chip, reset: 20, interrupt: 21 }];
    const sd = card ? new MicroSd(time, card, latency) : null;
    if (sd) devices.push({ bus: 1, select: 13, device: sd });
    const board = new Board({ flash, bootrom: loadBootrom(bootrom) }, devices, { warn });
    Object.defineProperty(time, 'now', { get: () => board.now });
    time.at = (nanos, callback) => board.at(nanos, callback);
    return { board, chip, sd, program, log: new Log(board, program) };
}

/** A PHY takes two to three seconds until it has a link. */
const NEGOTIATION = 2e9;
