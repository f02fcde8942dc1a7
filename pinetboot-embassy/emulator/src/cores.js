// Both cores. rp2040js has one; the second is another instance of the same class on the same buses.
//
// This module does the boot ROM's work: core 0 starts in the second-stage boot loader at the start of flash, core 1 waits
// for the six words on the FIFO that start it (RP2040 datasheet, 2.8.2). rp2040js knows no second core, so this module
// keeps each core's private part of the SIO block: CPUID, the FIFOs, the divider (2.3.1).

import { Spins } from './spins.js';

export class Cores {
    constructor(chip, clock, cache) {
        this.chip = chip;
        this.clock = clock;
        this.cache = cache;
        this.newCore = () => new chip.core.constructor(chip); // the class is not exported
        this.cores = [chip.core, this.newCore()];
        this.state = ['running', 'in ROM'];
        this.fifo = [[], []]; // the words that each core has to read
        this.divider = [{}, {}].map(() => ({ divDividend: 0, divDivisor: 1, divQuotient: 0, divRemainder: 0, divCSR: 0 }));
        this.divides = 0; // the core whose divider is in the SIO block
        this.handshake = [];
        this.lead = 0; // the nanoseconds by which core 1 is ahead of core 0
        this.leaving = null;
        this.stalled = 0;
        this.sample = null;
        this.spins = new Spins(chip, clock, cache);
        chip.setInterrupt = (irq, value) => {
            for (const core of this.cores) core.setInterrupt(irq, value);
        };
        this.hookSio();
        this.hookPsm();
    }

    start(flash) {
        const [core] = this.cores;
        core.SP = 0x20041f00; // the values with which the boot ROM leaves core 0 after it copied the boot loader to RAM
        core.LR = 0;
        core.PC = flash;
    }

    /** Runs until the clock says `until`. */
    run(until) {
        const { clock, chip, cores, cache } = this;
        const nanosPerCycle = 1e9 / chip.clkSys;
        while (clock.nanos < until && !this.leaving) {
            const first = this.runnable(0);
            const second = this.runnable(1);
            if (!first && !second) {
                const next = clock.nextAlarm ? clock.nextAlarm.nanos : until;
                clock.tick(Math.max(0, Math.min(next, until) - clock.nanos));
                continue;
            }
            if (!(first && second)) {
                this.alone(first ? 0 : 1, until);
                continue;
            }
            const index = first && (!second || this.lead >= 0) ? 0 : 1;
            this.select(index);
            const took = (cores[index].executeInstruction() + cache.waited()) * nanosPerCycle + this.stalled;
            this.stalled = 0;
            if (this.sample) this.sample(index, cores[index], took);
            // The clock follows the core that is behind.
            const other = index === 0 ? this.lead : -this.lead;
            clock.tick(Math.min(took, other));
            this.lead += index === 0 ? -took : took;
        }
        if (this.leaving) {
            const leave = this.leaving;
            this.leaving = null;
            leave();
        }
    }

    /** Runs that core while the other one sleeps: no need to ask before each instruction. */
    alone(index, until) {
        const { clock, chip, cache } = this;
        const nanosPerCycle = 1e9 / chip.clkSys;
        const [core, other] = [this.cores[index], this.cores[1 - index]];
        const state = this.state[1 - index];
        this.lead = 0;
        this.select(index);
        this.spins.begin(core);
        do {
            const took = (core.executeInstruction() + cache.waited()) * nanosPerCycle + this.stalled;
            this.stalled = 0;
            if (this.sample) this.sample(index, core, took);
            const next = clock.nextAlarm?.nanos ?? Infinity;
            clock.tick(took);
            if (core.spins !== 0) {
                // What the core has read may be otherwise since an alarm.
                if (clock.nanos >= next || this.sample) this.spins.begin(core);
                else this.spins.skip(core, until, nanosPerCycle);
            }
            if (this.leaving || this.state[index] !== 'running' || this.state[1 - index] !== state) return;
        } while (!core.waiting && (other.waiting || state !== 'running') && clock.nanos < until);
    }

    /** Ends `run` at once, and calls `callback` instead. */
    leave(callback) {
        this.leaving = callback;
    }

    /** SEV: wakes the waiting cores. rp2040js only logs it. */
    event() {
        for (const core of this.cores) {
            core.eventRegistered = !core.waiting;
            core.waiting = false;
        }
    }

    /** The running instruction takes so much longer. */
    stall(nanos) {
        this.stalled += nanos;
    }

    /** The running core stops for good. */
    halt() {
        this.state[this.cores.indexOf(this.chip.core)] = 'halted';
    }

    /** The start of that core's stack; undefined without a stack. Core 0 has it in its vector table, core 1 from the FIFO. */
    stackTop(index) {
        return index === 0 ? this.chip.readUint32(this.cores[0].VTOR) : this.handshake[4];
    }

    runnable(index) {
        return this.state[index] === 'running' && !this.cores[index].waiting;
    }

    select(index) {
        this.chip.core = this.cores[index];
    }

    /** Gives the divider in the SIO block to that core, with all its registers. */
    lendDivider(index) {
        if (this.divides === index) return;
        const { divider } = this;
        const { sio } = this.chip;
        for (const field in divider[index]) {
            divider[1 - index][field] = sio[field];
            sio[field] = divider[index][field];
        }
        this.divides = index;
    }

    hookSio() {
        const { sio } = this.chip;
        const read = sio.readUint32.bind(sio);
        const write = sio.writeUint32.bind(sio);
        sio.readUint32 = (offset) => {
            const me = this.cores.indexOf(this.chip.core);
            switch (offset) {
                case CPUID:
                    return me;
                case FIFO_ST:
                    return (this.fifo[me].length > 0 ? VALID : 0) | (this.fifo[1 - me].length < FIFO_DEPTH ? READY : 0);
                case FIFO_RD: {
                    const word = this.fifo[me].shift() ?? 0;
                    this.updateFifoInterrupts();
                    return word;
                }
                default:
                    if (isDivider(offset)) this.lendDivider(me);
                    return read(offset);
            }
        };
        sio.writeUint32 = (offset, value) => {
            const me = this.cores.indexOf(this.chip.core);
            switch (offset) {
                case FIFO_ST:
                    return;
                case FIFO_WR:
                    this.push(1 - me, value >>> 0);
                    return;
                default:
                    if (isDivider(offset)) this.lendDivider(me);
                    write(offset, value);
            }
        };
    }

    push(to, word) {
        if (this.state[to] === 'in ROM') {
            this.answerAsRom(word);
        } else if (this.fifo[to].length < FIFO_DEPTH) {
            this.fifo[to].push(word);
        }
        this.updateFifoInterrupts();
    }

    updateFifoInterrupts() {
        this.cores[0].setInterrupt(SIO_IRQ_PROC0, this.fifo[0].length > 0);
        this.cores[1].setInterrupt(SIO_IRQ_PROC1, this.fifo[1].length > 0);
    }

    /** Core 1 in ROM echoes 0, 0, 1, vector table, stack pointer, entry; then it jumps there. */
    answerAsRom(word) {
        const at = this.handshake.length;
        const expected = [0, 0, 1][at];
        if (expected === undefined || word === expected) {
            this.handshake.push(word);
        } else {
            this.handshake = word === 0 ? [0] : [];
        }
        this.fifo[0].push(word);
        if (this.handshake.length === 6) {
            const [, , , vectors, stack, entry] = this.handshake;
            const core = this.cores[1];
            core.VTOR = vectors;
            core.SP = stack;
            core.PC = entry & ~1;
            this.lead = 0;
            this.state[1] = 'running';
        }
    }

    /** Core 1 can be held in reset: firmware does so to be sure that core 1 is in ROM. */
    hookPsm() {
        const psm = this.chip.peripherals[PSM];
        const write = psm.writeUint32.bind(psm);
        psm.writeUint32 = (offset, value) => {
            write(offset, value);
            if (offset === FRCE_OFF && value & PROC1) {
                this.cores[1] = this.newCore();
                this.state[1] = 'in ROM';
                this.handshake = [];
                this.fifo = [[], []];
            }
        };
    }
}

const CPUID = 0x00;
const FIFO_ST = 0x50;
const FIFO_WR = 0x54;
const FIFO_RD = 0x58;
const VALID = 1;
const READY = 2;
const FIFO_DEPTH = 8;

/** DIV_UDIVIDEND to DIV_CSR. */
const isDivider = (offset) => offset >= 0x60 && offset <= 0x78;

const SIO_IRQ_PROC0 = 15;
const SIO_IRQ_PROC1 = 16;

const PSM = 0x40010;
const FRCE_OFF = 0x04;
const PROC1 = 1 << 16;
