// The board in step with the world outside: virtual time never runs faster than the wall clock.
//
// The board runs slower while the firmware computes, two to ten times. The lost time is not made up for while the firmware
// waits: the outside would seem to stand still to the firmware, and the firmware would send every packet again.

import { setImmediate } from 'node:timers/promises';

/** Runs the board until `signal` is aborted; `socket` is its cable, which see `bridge`. */
export async function live(board, socket, signal) {
    let last = performance.now();
    while (!signal.aborted) {
        const began = performance.now();
        let due = (began - last) * 1e6;
        last = began;
        while (due > 0 && performance.now() - began < TURN) {
            const step = Math.min(due, STEP);
            board.run(board.now + step);
            due -= step;
        }
        // Let datagrams in; or wait for one, once the board has caught up with the wall clock.
        await (due > 0 ? setImmediate() : datagramOrMillisecond(socket));
    }
}

function datagramOrMillisecond(socket) {
    return new Promise((resolve) => {
        const done = () => {
            clearTimeout(timer);
            socket.off('message', done);
            resolve();
        };
        const timer = setTimeout(done, 1);
        socket.once('message', done);
    });
}

/** Nanoseconds of virtual time between looks at the clock. */
const STEP = 100_000;

/** Milliseconds before datagrams are let in again. */
const TURN = 2;
