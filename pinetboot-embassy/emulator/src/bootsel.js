// The button BOOTSEL, which pulls the flash's select line low by a resistor (Hardware design with RP2040, section 2.2): firmware reads it
// while it does not drive that line, and may then read nothing from the flash. rp2040js has no IO_QSPI (RP2040 datasheet, 2.19.6).

export class Bootsel {
    constructor(chip, cache, isHeld) {
        this.reads = 0;
        const qspi = chip.peripherals[IO_QSPI];
        const [read, write] = [qspi.readUint32.bind(qspi), qspi.writeUint32.bind(qspi)];
        let fetched = null; // lines of flash read when the line was let go
        qspi.readUint32 = (offset) => {
            if (offset === SS_CTRL) return NORMAL;
            if (offset !== SS_STATUS || fetched === null) return read(offset);
            this.reads++;
            return isHeld() ? 0 : INFROMPAD;
        };
        qspi.writeUint32 = (offset, value) => {
            if (offset !== SS_CTRL) return write(offset, value);
            if (((value >>> OEOVER) & 3) === DISABLE) {
                fetched ??= cache.fetched;
            } else if (fetched !== null) {
                if (fetched !== cache.fetched) throw new Error('the flash was read while its select line was let go');
                fetched = null;
            }
        };
    }
}

const IO_QSPI = 0x40018;
const SS_STATUS = 0x08;
const SS_CTRL = 0x0c;
const NORMAL = 0; // the line is the flash controller's
const INFROMPAD = 1 << 17;
const OEOVER = 12;
const DISABLE = 2;
