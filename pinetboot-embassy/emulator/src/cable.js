// The cable of the board, in virtual time, with a switch at its other end and Pis on that.

import { parse } from './packets.js';
import { wireTime } from './w5500.js';

export class Cable {
    constructor(board, chip) {
        this.board = board;
        this.chip = chip;
        this.pis = [];
        this.free = 0; // when the last bit of the queued frames is in the chip
        /** Loses frames: called with 'to' or 'from' the board and the frame. */
        this.loses = () => false;
        chip.onFrame = (frame) => {
            if (this.loses('from', frame)) return;
            const packet = parse(frame);
            for (const pi of this.pis) pi.receive(packet);
        };
        chip.onSend = (frame) => {
            const packet = parse(frame);
            for (const pi of this.pis) pi.leaving(packet);
        };
    }

    /** Puts a frame on the cable; it is in the chip when its last bit is. */
    transmit(frame) {
        if (this.loses('to', frame)) return;
        this.free = Math.max(this.board.now, this.free) + wireTime(frame.length);
        this.board.at(this.free, () => {
            if (!this.chip.receive(frame)) return;
            const packet = parse(frame);
            for (const pi of this.pis) pi.arrived(packet);
        });
    }
}
