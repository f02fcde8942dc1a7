// An SPI bus: bytes take the time that the firmware's clock setting gives them, and go to the selected device.
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
            done.schedule((spi.dataBits * 1e9) / spi.clockFrequency);
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
        }
        return answer;
    }
}
