// The flash chip, as far as firmware changes it: by the boot ROM's functions flash_range_erase and flash_range_program (RP2040 datasheet,
// 2.8.3.1.3). The ROM's own code would drive the chip through a controller that rp2040js does not have, so the functions are replaced
// here, at the addresses that the ROM's table names.

export class Flash {
    constructor(chip, cores, journal) {
        this.chip = chip;
        this.cores = cores;
        this.journal = journal; // each change: the offset, and the bytes; null for an erasure
        const bytes = new Uint8Array(chip.bootrom.buffer);
        for (const [index, code] of ['RE', 'RP'].entries()) {
            const at = romFunction(bytes, code);
            bytes.set([BREAKPOINTS + index, 0xbe, 0x70, 0x47], at); // BKPT, and BX LR
        }
    }

    /** A breakpoint of the running core; whether it was one of the functions. */
    called(code) {
        const [first, second, third] = this.chip.core.registers;
        switch (code - BREAKPOINTS) {
            case 0:
                for (let at = first; at < first + second; at += SECTOR) this.change(at, null);
                break;
            case 1:
                for (let done = 0; done < third; done += PAGE) {
                    const bytes = Uint8Array.from({ length: PAGE }, (_, index) => this.chip.readUint8(second + done + index));
                    this.change(first + done, bytes);
                }
                break;
            default:
                return false;
        }
        return true;
    }

    change(at, bytes) {
        apply(this.chip.flash, { at, bytes });
        this.journal.push({ at, bytes });
        this.cores.stall(bytes ? WRITING : ERASING);
    }
}

/** A change of a flash: all of it, or as many of its bytes. */
export function apply(flash, { at, bytes }, count = Infinity) {
    if (bytes === null) flash.fill(0xff, at, at + Math.min(SECTOR, count));
    else bytes.subarray(0, count).forEach((byte, index) => (flash[at + index] &= byte));
}

/** The table is at the address in the halfword at 0x14: pairs of a code and an address (2.8.3). */
function romFunction(rom, code) {
    const half = (at) => rom[at] | (rom[at + 1] << 8);
    for (let at = half(0x14); half(at) !== 0; at += 4) {
        if (String.fromCharCode(rom[at], rom[at + 1]) === code) return half(at + 2) & ~1;
    }
    throw new Error(`the boot ROM has no function ${code}`);
}

const BREAKPOINTS = 0xa0;
const SECTOR = 4096;
const PAGE = 256;

/** Nanoseconds of a W25Q16JV (data sheet, 9.6: typical). */
const ERASING = 45e6;
const WRITING = 0.4e6;
