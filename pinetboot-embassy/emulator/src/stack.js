// The depth of the stacks: the lowest value that each core's stack pointer ever had. Exact, without a fill pattern:
// the emulator sees every instruction.

export class StackDepth {
    /** Watches from now on; earlier values are lost, so begin before the board runs. */
    constructor(board) {
        this.board = board;
        this.lowest = [Infinity, Infinity];
        board.cores.sample = (core, { registers }) => {
            if (registers[SP] < this.lowest[core]) this.lowest[core] = registers[SP];
        };
    }

    stop() {
        this.board.cores.sample = null;
    }

    /** Bytes that a core has used below the start of its stack; 0 for a core that never ran. */
    bytes(core) {
        const top = this.board.cores.stackTop(core);
        return top === undefined ? 0 : Math.max(0, top - this.lowest[core]);
    }
}

const SP = 13;
