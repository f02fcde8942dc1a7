// Loops that wait, which a core spends most of its instructions in: until the end of a byte on a bus, or for some time. While the other core
// sleeps nothing can change before the clock’s next alarm, so the turns until then are skipped. All is as if they had been computed, but for the
// rounding of the clock’s floating point numbers.

import { COUNTING, POLLING } from './decoder.js';

export class Spins {
    constructor(chip, clock, cache) {
        this.chip = chip;
        this.clock = clock;
        this.cache = cache;
        this.writes = 0;
        this.polled = new Uint32Array(17); // the registers and the flags at the last poll
        this.since = null; // its time, or null
        this.counts = [];
        for (const spi of chip.spi) this.watch(spi);
        this.countWrites();
    }

    /** The core begins to run alone: nothing is known of what it did before. */
    begin(core) {
        core.spins = 0;
        this.since = null;
    }

    /** A core that polls is perhaps in a loop: it reads the status, and turns back. */
    watch(spi) {
        const read = spi.readUint32.bind(spi);
        spi.readUint32 = (offset) => {
            if (offset === SSPSR) this.chip.core.spins = POLLING;
            return read(offset);
        };
    }

    countWrites() {
        const { chip } = this;
        const end = RAM + chip.sram.length;
        const [write8, write16, write32] = ['writeUint8', 'writeUint16', 'writeUint32'].map((name) => chip[name].bind(chip));
        chip.writeUint8 = (address, value) => {
            this.writes++;
            if (address >= RAM && address < end) chip.sram[address - RAM] = value;
            else write8(address, value);
        };
        chip.writeUint16 = (address, value) => {
            this.writes++;
            if (address >= RAM && address < end) chip.sramView.setUint16(address - RAM, value, true);
            else write16(address, value);
        };
        chip.writeUint32 = (address, value) => {
            this.writes++;
            if (address >= RAM && address < end - 3) chip.sramView.setUint32(address - RAM, value, true);
            else write32(address, value);
        };
    }

    /** Skips turns of the loop that this core has just gone through, up to that time at most. */
    skip(core, until, nanosPerCycle) {
        const { spins } = core;
        core.spins = 0;
        const { clock } = this;
        const time = Math.min(until, clock.nextAlarm?.nanos ?? until) - clock.nanos;
        if (spins === COUNTING) {
            const [opcode, turn] = [this.chip.readUint16(core.PC), 3 * nanosPerCycle];
            if (opcode >> 11 !== SUBS || (opcode & 0xff) !== 1) return;
            const register = (opcode >> 8) & 7;
            const turns = Math.min(core.registers[register] - 1, Math.floor(time / turn) - 1);
            if (turns < 1) return;
            core.registers[register] -= turns;
            clock.tick(turns * turn);
        } else if (this.isSame(core)) {
            const turn = clock.nanos - this.since;
            const turns = Math.floor(time / turn) - 1;
            if (turns >= 1) clock.tick(turns * turn);
            this.since = clock.nanos;
        }
    }

    /** Whether nothing has changed since the last poll, at which the same instruction polled. Keeps this one. */
    isSame({ registers, APSR, interruptsUpdated }) {
        const { polled, clock, cache, counts } = this;
        const now = [this.writes, cache.elsewhere, cache.fetched]; // the poll itself is one read
        let same = this.since !== null && !interruptsUpdated && polled[16] === APSR >>> 0;
        same &&= now[0] === counts[0] && now[1] === counts[1] + 1 && now[2] === counts[2];
        for (let index = 0; index < 16; index++) {
            same &&= polled[index] === registers[index];
            polled[index] = registers[index];
        }
        polled[16] = APSR;
        this.counts = now;
        if (!same) this.since = clock.nanos;
        return same;
    }
}

const RAM = 0x20000000;
const SSPSR = 0x0c;

/** SUBS of a register and a number of eight bits: the upper five bits. */
const SUBS = 0b00111;
