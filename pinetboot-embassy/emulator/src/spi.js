// An SPI bus: bytes take the time that the firmware's clock setting gives them, and go to the selected device.
//
// The RP2040's SPI is a PL022. With SPH = 0 (modes 0 and 2) it raises its own select line between two frames, which takes some two
// clocks (pico-examples issue 285); with SPH = 1 (modes 1 and 3) a byte takes 8.5 clocks (measured, pico-feedback issue 39).
//
// The time matters beyond accuracy: a transfer that completes at once stalls rp2040js's DMA.

export class SpiBus {
    constructor(spi, clock) {
        this.spi = spi;
        this.devices = [];
        this.bytes = 0;
        this.transactions = 0;
        /** A hanging bus finishes no byte, until the chip is reset. */
        this.hangs = false;
        let answer = 0;
        const done = clock.createAlarm(() => spi.completeTransmit(answer));
        spi.onTransmit = (value) => {
            if (this.hangs) return;
            this.bytes++;
            answer = this.exchange(value);
            const pause = spi.control0 & SPH ? 0.5 : 2;
            done.schedule(((spi.dataBits + pause) * 1e9) / spi.clockFrequency);
        };
    }

    /** A device has `select(boolean)` and `exchange(byte) -> byte`. */
    attach(pin, device) {
        const place = { device, selected: false };
        this.devices.push(place);
        pin.addListener((level) => {
            // Low, driven: 0 in rp2040js's GPIOPinState.
            if (place.selected === (level === 0)) return;
            place.selected = level === 0;
            this.transactions += place.selected ? 1 : 0;
            device.select(place.selected);
        });
    }

    exchange(value) {
        let answer = 0xff; // the line is pulled up
        for (const { device, selected } of this.devices) {
            if (selected) answer &= device.exchange(value);
            else device.idleByte?.();
        }
        return answer;
    }
}

/** Of SSPCR0 (RP2040 data sheet, 4.4.4). */
const SPH = 1 << 7;
