// The board in step with the world outside: virtual time never runs faster than the wall clock.
//
// It runs slower while the firmware computes, about ten times. What it lost then is not made up for while the firmware
// waits: to it the world would seem to stand still, and it would send everything again.

import { setImmediate, setTimeout } from 'node:timers/promises';

/** Runs the board until `signal` is aborted. */
export async function live(board, signal) {
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
        // Let datagrams in; with time for others where there is nothing to compute.
        await (due > 0 ? setImmediate() : setTimeout(1));
    }
}

/** Nanoseconds of virtual time between looks at the clock. */
const STEP = 100_000;

/** Milliseconds before datagrams are let in again. */
const TURN = 2;
