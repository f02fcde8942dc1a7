// A computer at the board's USB port, with a terminal on the board's serial port. The bus and the computer's driver are rp2040js's.

import { USBCDC } from 'rp2040js';

export class Terminal {
    constructor(board) {
        this.board = board;
        this.plugIn();
    }

    /** The cable is plugged in; after a reset of the chip anew. */
    plugIn() {
        this.screen = '';
        this.typed = [];
        this.reading = 0; // the bytes that the board is ready to take
        this.connected = false;
        this.usb = this.board.chip.usbCtrl;
        this.driver = new USBCDC(this.usb);
        this.driver.onDeviceConnected = () => (this.connected = true);
        this.driver.onSerialData = (bytes) => (this.screen += Buffer.from(bytes).toString('latin1'));
        // rp2040js's driver answers at once, and with nothing if nothing was typed; a computer answers when it has something. Until then
        // the buffer is the controller's (RP2040 datasheet, 4.1.2.5.1), which rp2040js gives back too early.
        this.usb.onEndpointRead = (endpoint, size) => {
            if (endpoint !== this.driver.outEndpoint) return;
            this.reading = size;
            this.lend(endpoint, true);
            this.deliver();
        };
        const finishRead = this.usb.finishRead.bind(this.usb);
        this.usb.finishRead = (endpoint, bytes) => {
            this.lend(endpoint, false);
            finishRead(endpoint, bytes);
        };
    }

    /** Whether the controller has the endpoint's buffer. */
    lend(endpoint, available) {
        const memory = this.board.chip.usbDPRAMView;
        const control = memory.getUint32(OUT_CONTROL + 8 * endpoint, true);
        memory.setUint32(OUT_CONTROL + 8 * endpoint, available ? control | AVAILABLE : control & ~AVAILABLE, true);
    }

    type(text) {
        this.typed.push(...Buffer.from(text));
        this.deliver();
    }

    /** Types a line, and waits for the prompt; the lines of the answer. */
    ask(line) {
        const from = this.screen.length;
        this.type(`${line}\r`);
        const answered = this.board.run(this.board.now + 1e9, () => this.screen.slice(from).endsWith('\r\n> '));
        const text = this.screen.slice(from);
        if (!answered) throw new Error(`no answer to ${line} within a second: ${JSON.stringify(text)}`);
        return text.split('\r\n').slice(1, -1);
    }

    deliver() {
        if (this.reading === 0 || this.typed.length === 0) return;
        const bytes = this.typed.splice(0, this.reading);
        this.reading = 0;
        this.usb.endpointReadDone(this.driver.outEndpoint, Uint8Array.from(bytes));
    }
}

/** The word that describes the buffer of endpoint 0, and its bit. */
const OUT_CONTROL = 0x84;
const AVAILABLE = 1 << 10;
