// The time of a core by function: the cycles of each instruction. Exact, not sampled: the emulator sees every instruction.

export class Profile {
    constructor(board, functions) {
        this.board = board;
        this.functions = functions;
        this.cores = [new Map(), new Map()];
        this.idle = 0;
    }

    start() {
        this.began = this.board.now;
        this.board.cores.sample = (core, { registers }, nanos) => {
            const counts = this.cores[core];
            counts.set(registers[15], (counts.get(registers[15]) ?? 0) + nanos);
        };
    }

    stop() {
        this.board.cores.sample = null;
        this.nanos = this.board.now - this.began;
    }

    /** Nanoseconds by function, the most first. A cycle counts where the instruction leads: a call for the callee. */
    byFunction(core = 0) {
        const sums = new Map();
        for (const [pc, nanos] of this.cores[core]) {
            const name = this.functionAt(pc);
            sums.set(name, (sums.get(name) ?? 0) + nanos);
        }
        return [...sums].sort((a, b) => b[1] - a[1]);
    }

    functionAt(pc) {
        if (pc < 0x4000) return '(boot ROM)';
        const { functions } = this;
        let [low, high] = [0, functions.length];
        while (low < high) {
            const middle = (low + high) >> 1;
            if (functions[middle].address <= pc) low = middle + 1;
            else high = middle;
        }
        const found = functions[low - 1];
        return found && pc < found.address + Math.max(found.size, 2) ? found.name : `0x${pc.toString(16)}`;
    }
}
