// The processor's instructions by table: rp2040js finds an instruction by up to eighty comparisons, one after the other, which was most
// of an emulation's time.
//
// Its method is taken apart once. Its own comparisons say for each of the 65536 opcodes which of its branches they lead to; a `switch` has
// the branches, in the package's own text.

/** Gives the cores' class, which the package does not export, that method. */
export function decodeByTable(Core) {
    const method = Core.prototype.executeInstruction;
    if (method.byTable) return;
    const { conditions, bodies, otherwise } = branches(method.toString());
    const isWide = (condition) => condition.includes('opcode2');
    const select = (which) => {
        const tests = conditions.map((condition, branch) => (which(condition) ? `${condition} ? ${branch} : ` : ''));
        return new Function('opcode', 'opcode2', `return ${tests.join('')} ${NONE};`);
    };
    const narrow = select((condition) => !isWide(condition));
    const table = Uint8Array.from({ length: 1 << 16 }, (_, opcode) => (opcode >> 11 >= 0b11101 ? WIDE : narrow(opcode)));
    table[BNE_BACK] = COUNTDOWN;
    Core.prototype.spins = 0;
    const parts = { table, wide: select(isWide), signExtend8, signExtend16, pcRegister: 15, spRegister: 13, LOG_NAME: 'CortexM0Core' };
    const make = new Function(
        ...Object.keys(parts),
        `return function executeInstruction() {
            if (this.interruptsUpdated && this.checkForInterrupts()) this.waiting = false;
            const opcodePC = this.registers[15] & ~1;
            const opcode = this.rp2040.readUint16(opcodePC);
            let branch = table[opcode];
            let opcode2 = 0;
            if (branch === ${WIDE}) {
                opcode2 = this.rp2040.readUint16(opcodePC + 2);
                branch = wide(opcode, opcode2);
            }
            this.registers[15] += 2;
            let deltaCycles = 1;
            switch (branch) {
                ${bodies.map((body, branch) => `case ${branch}: {${body} break; }`).join('\n')}
                case ${COUNTDOWN}:
                    if (this.Z) break;
                    this.registers[15] = opcodePC - 2;
                    deltaCycles = 2;
                    this.spins = ${COUNTING};
                    break;
                default: {${otherwise}}
            }
            this.cycles += deltaCycles;
            return deltaCycles;
        }`,
    );
    Core.prototype.executeInstruction = make(...Object.values(parts));
    Core.prototype.executeInstruction.byTable = true;
}

/** The chain of the method: conditions, what each leads to, and what none does. */
function branches(text) {
    const parts = text.split(/^ {8}(?:\/\/ .*\n {8})*(?=if \(opcode|else if \(opcode|else \{|\}$|this\.cycles)/m);
    const chain = parts.flatMap((part) => /^(?:else )?if \((opcode.*)\) \{\n([^]*)$/.exec(part) ?? []).filter((_, at) => at % 3);
    const otherwise = parts.flatMap((part) => /^else \{\n([^]*)$/.exec(part)?.[1] ?? []);
    const [conditions, bodies] = [0, 1].map((odd) => chain.filter((_, at) => at % 2 === odd));
    if (conditions.length !== INSTRUCTIONS || otherwise.length !== 1) throw new Error('rp2040js finds its instructions in another way');
    return { conditions, bodies, otherwise: otherwise[0] };
}

// What the text refers to.
const signExtend8 = (value) => (value << 24) >> 24;
const signExtend16 = (value) => (value << 16) >> 16;

/** Branches in rp2040js 1.4.1. */
const INSTRUCTIONS = 83;

/** BNE to the instruction before it: a loop that may count down, and does nothing else. */
const BNE_BACK = 0xd1fd;

/** Why a core may be in such a loop, or in one that waits for a device. */
export const COUNTING = 1;
export const POLLING = 2;

/** In the table: that instruction; an instruction of 32 bits, whose second half decides, and no branch. */
const COUNTDOWN = 253;
const WIDE = 254;
const NONE = 255;
