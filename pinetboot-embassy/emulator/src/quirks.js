// Corrections, from outside, of the differences between rp2040js 1.4.1 and the chip that firmware relies on. Others are elsewhere:
// the single core and SEV, which wakes no core, in cores.js; the reset that erases the flash, in board.js.

/** CHAN_ABORT reads as all ones there; read, changed and written back, it would abort every channel (datasheet, 2.5.7). */
export function readableDmaAbort({ dma }) {
    const read = dma.readUint32.bind(dma);
    dma.readUint32 = (offset) => (offset === CHAN_ABORT ? 0 : read(offset));
}

/** The ring oscillator's random bit (2.17.5); here from a generator with a seed, so that a run can be repeated. */
export function randomBits(chip, seed = 1) {
    const rosc = chip.peripherals[ROSC];
    const read = rosc.readUint32.bind(rosc);
    let state = seed;
    rosc.readUint32 = (offset) => {
        if (offset !== RANDOMBIT) return read(offset);
        state ^= state << 13; // xorshift32
        state ^= state >>> 17;
        state ^= state << 5;
        return (state >>> 11) & 1;
    };
}

/**
 * The flash cache's control (2.6.3), which rp2040js lacks: no streaming is under way. Firmware waits for that before it
 * asks the flash for its number. The number itself reads as zeros, as rp2040js answers every question to the flash.
 */
export function idleFlashStream(chip) {
    chip.peripherals[XIP_CTRL] = { readUint32: () => 0, writeUint32() {}, writeUint32Atomic() {} };
}

/** The memory protection unit (2.4.6): off, and stays off. Firmware reads its state before it guards the second core's stack. */
export function memoryUnprotected({ ppb }) {
    const read = ppb.readUint32.bind(ppb);
    const write = ppb.writeUint32.bind(ppb);
    const isMpu = (offset) => offset >= MPU_TYPE && offset <= MPU_RASR;
    ppb.readUint32 = (offset) => (isMpu(offset) ? 0 : read(offset));
    ppb.writeUint32 = (offset, value) => isMpu(offset) || write(offset, value);
}

const MPU_TYPE = 0xd90;
const MPU_RASR = 0xda0;
const XIP_CTRL = 0x14000;
const CHAN_ABORT = 0x444;
const ROSC = 0x40060;
const RANDOMBIT = 0x1c;
