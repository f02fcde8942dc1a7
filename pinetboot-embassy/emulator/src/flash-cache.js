// The cache between the cores and the flash (RP2040 datasheet, 2.6.3): 16 KB, two ways, lines of 8 bytes. A hit
// costs nothing; on a miss the cache reads the line from the flash, and the core waits.
//
// A read takes the clocks that the second-stage boot loader for W25Q chips sets up: quad, in continuous mode. That comes to
// 0.5 us at 125 MHz; 0.4 us have been measured on a chip (oberon-rtk.org, "Flash Memory"). Not modelled: the cores
// waiting for each other there.

export class FlashCache {
    constructor(chip) {
        this.chip = chip;
        this.lines = new Int32Array(SETS * WAYS).fill(-1);
        this.older = new Uint8Array(SETS); // the way of each set that is replaced next
        this.last = -1;
        this.misses = 0;
        this.fetched = 0; // lines, since the start
        this.elsewhere = 0; // reads that were neither of flash nor of RAM
        // Flash and RAM are read here, for they are read most; what is elsewhere, and what is not aligned, rp2040js reads.
        const { flash, flashView, sram, sramView } = chip;
        const end = RAM + sram.length;
        const [read8, read16, read32] = ['readUint8', 'readUint16', 'readUint32'].map((name) => chip[name].bind(chip));
        chip.readUint8 = (address) => {
            if (address >= RAM && address < end) return sram[address - RAM];
            if (address >>> 24 !== CACHED) return (this.elsewhere++, read8(address));
            this.look(address & OFFSET);
            return flash[address & OFFSET];
        };
        chip.readUint16 = (address) => {
            if (address & 1) return read16(address);
            if (address >= RAM && address < end) return sramView.getUint16(address - RAM, true);
            if (address >>> 24 !== CACHED) return (this.elsewhere++, read16(address));
            this.look(address & OFFSET);
            return flashView.getUint16(address & OFFSET, true);
        };
        chip.readUint32 = (address) => {
            if (address & 3) return read32(address);
            if (address >= RAM && address < end) return sramView.getUint32(address - RAM, true);
            if (address >>> 24 !== CACHED) return (this.elsewhere++, read32(address));
            this.look(address & OFFSET);
            return flashView.getUint32(address & OFFSET, true);
        };
    }

    look(offset) {
        const line = offset >>> 3;
        if (line === this.last) return;
        this.last = line;
        const set = line % SETS;
        const [first, second] = [set * WAYS, set * WAYS + 1];
        if (this.lines[first] === line) {
            this.older[set] = 1;
        } else if (this.lines[second] === line) {
            this.older[set] = 0;
        } else {
            this.misses++;
            this.fetched++;
            this.lines[first + this.older[set]] = line;
            this.older[set] ^= 1;
        }
    }

    /** Cycles spent waiting since the last call. */
    waited() {
        if (this.misses === 0) return 0;
        const { misses } = this;
        this.misses = 0;
        return misses * CLOCKS * this.chip.peripherals[SSI].baudr;
    }
}

const CACHED = 0x10;
const OFFSET = 0xffffff;
const RAM = 0x20000000;
const SETS = 1024;
const WAYS = 2;

/** Six for the address and two for the mode, four of silence, and two for each byte of a line. */
const CLOCKS = 8 + 4 + 16;

/** The flash reader; `baudr` divides the system's clock. */
const SSI = 0x18000;
