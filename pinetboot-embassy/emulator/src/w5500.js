// The W5500 Ethernet chip, as far as a driver in MACRAW mode sees it (WIZnet's datasheet, version 1.0.9).
//
// Modelled: the SPI frame with variable length (2.2), the common registers a driver uses, socket 0 with its commands OPEN,
// CLOSE, SEND and RECV, both buffers of up to 16 KB with their wrap and their limits, the filters of MAC, multicast and IPv6, the
// interrupt pin (an interrupt can be lost), the reset pin, the PHY's link bit and how long the PHY negotiates, and 100 Mbit/s: a
// frame is out, and its room in the buffer free, after its time on the wire; never without a link. Not modelled: the other seven sockets, the chip's own TCP/IP, PPPoE, Wake on LAN, fixed-length SPI frames, and how
// long the chip itself takes.

export class W5500 {
    /**
     * @param {{ now: number, at: (nanos: number, callback: () => void) => void }} time the virtual clock
     * @param {{ negotiation?: number }} options nanoseconds that the PHY takes to agree with the other side
     */
    constructor(time = null, { negotiation = 0 } = {}) {
        this.time = time;
        this.cable = true;
        this.negotiation = negotiation;
        /** Called with each frame (Uint8Array), when its last bit is on the wire. */
        this.onFrame = () => {};
        /** Called with each SEND, before its time on the wire. */
        this.onSend = () => {};
        /** Called with the level of the interrupt pin. */
        this.onInterrupt = () => {};
        /** What the chip reports as the length of the next frame, instead of the truth. */
        this.nextLength = null;
        /** Whether the interrupt of a received frame is lost: RECV of Sn_IR stays 0, and only RX_RSR shows the frame. */
        this.losesInterrupt = () => false;
        this.counts = { received: 0, sent: 0, full: 0, filtered: 0, closed: 0 };
        this.inReset = false;
        this.reset();
    }

    reset() {
        this.common = new Uint8Array(0x40);
        this.common[VERSIONR] = 4;
        this.socket = new Uint8Array(0x30);
        this.socket[RXBUF_SIZE] = 2;
        this.socket[TXBUF_SIZE] = 2;
        this.socket[IMR] = 0xff;
        this.rx = new Uint8Array(16 * 1024);
        this.tx = new Uint8Array(16 * 1024);
        this.rxWrite = 0; // the chip's own pointer; rxRead and txWrite are the driver's, as of its last command
        this.rxRead = 0;
        this.txWrite = 0;
        this.txRead = 0;
        this.wireFree = 0;
        this.linkAt = (this.time?.now ?? 0) + this.negotiation;
        this.epoch = (this.epoch ?? 0) + 1; // frames under way at a reset are lost
        this.frame = null;
        this.updateInterrupt();
    }

    /** The PHY negotiates after each reset and each time the cable is plugged in. */
    set link(plugged) {
        if (plugged && !this.cable) this.linkAt = this.time.now + this.negotiation;
        this.cable = plugged;
    }

    get link() {
        return this.cable && (this.time?.now ?? 0) >= this.linkAt;
    }

    resetPin(high) {
        this.inReset = !high;
        if (!high) this.reset();
    }

    // --- The wire ----------------------------------------------------------------------------------------------------

    /** A frame arrives from the wire; returns whether the chip kept it. */
    receive(frame) {
        if (this.inReset || !this.link || this.socket[SR] !== SOCK_MACRAW) return this.drop('closed');
        if (!this.accepts(frame)) return this.drop('filtered');
        const size = this.rxSize;
        if (this.received + frame.length + 2 > size) return this.drop('full');
        const told = this.nextLength ?? frame.length + 2;
        this.nextLength = null;
        for (const byte of [told >> 8, told & 0xff]) this.pushRx(byte, size);
        for (const byte of frame) this.pushRx(byte, size);
        this.counts.received++;
        if (!this.losesInterrupt()) this.socket[IR] |= IR_RECV;
        this.updateInterrupt();
        return true;
    }

    accepts(frame) {
        const [type, isMulticast] = [(frame[12] << 8) | frame[13], (frame[0] & 1) === 1 && frame[0] !== 0xff];
        if (this.socket[MR] & MR_MMB && isMulticast) return false;
        if (this.socket[MR] & MR_MIP6B && type === 0x86dd) return false;
        if (!(this.socket[MR] & MR_MFEN)) return true;
        const isMine = this.common.subarray(SHAR, SHAR + 6).every((byte, index) => byte === frame[index]);
        return isMine || (frame[0] & 1) === 1; // broadcast and multicast pass
    }

    drop(why) {
        this.counts[why]++;
        return false;
    }

    pushRx(byte, size) {
        this.rx[this.rxWrite % size] = byte;
        this.rxWrite = (this.rxWrite + 1) & 0xffff;
    }

    /** Bytes in the receive buffer, as of the driver's last RECV. */
    get received() {
        return (this.rxWrite - this.rxRead) & 0xffff;
    }

    get rxSize() {
        return Math.min(this.socket[RXBUF_SIZE], 16) * 1024;
    }

    get txSize() {
        return Math.min(this.socket[TXBUF_SIZE], 16) * 1024;
    }

    // --- SPI ---------------------------------------------------------------------------------------------------------

    select(selected) {
        this.frame = selected ? { header: [], address: 0 } : null;
    }

    exchange(byte) {
        const { frame } = this;
        if (!frame || this.inReset) return 0xff;
        if (frame.header.length < 3) {
            frame.header.push(byte);
            if (frame.header.length === 3) {
                const [high, low, control] = frame.header;
                frame.address = (high << 8) | low;
                frame.block = control >> 3;
                frame.write = (control & 0b100) !== 0;
            }
            return 0x01; // the datasheet's pictures show 1, 2, 3 here; no driver reads them
        }
        const address = frame.address;
        frame.address = (address + 1) & 0xffff;
        if (frame.write) {
            this.write(frame.block, address, byte);
            return 0x04;
        }
        return this.read(frame.block, address);
    }

    read(block, address) {
        switch (block) {
            case COMMON:
                if (address === PHYCFGR) return 0b10111110 | (this.link ? 1 : 0); // 100 Mbit/s, full duplex
                if (address === SIR) return this.socket[IR] ? 1 : 0;
                return this.common[address] ?? 0;
            case SOCKET_0:
                return this.readSocket(address);
            case TX_0:
                return this.tx[address % (this.txSize || 1)];
            case RX_0:
                return this.rx[address % (this.rxSize || 1)];
            default:
                return 0; // sockets 1 to 7 are closed
        }
    }

    readSocket(address) {
        const word = (value) => (address & 1 ? value & 0xff : value >> 8);
        switch (address & ~1) {
            case TX_FSR:
                return word(this.txSize - ((this.txWrite - this.txRead) & 0xffff));
            case TX_RD:
                return word(this.txRead);
            case RX_RSR:
                return word(this.received);
            case RX_WR:
                return word(this.rxWrite);
            default:
                return this.socket[address] ?? 0;
        }
    }

    write(block, address, byte) {
        switch (block) {
            case COMMON:
                if (address === MR && byte & 0x80) this.reset();
                else if (address < this.common.length && address !== VERSIONR) this.common[address] = byte;
                break;
            case SOCKET_0:
                this.writeSocket(address, byte);
                break;
            case TX_0:
                if (this.txSize) this.tx[address % this.txSize] = byte;
                break;
            case RX_0:
                if (this.rxSize) this.rx[address % this.rxSize] = byte;
                break;
        }
        this.updateInterrupt();
    }

    writeSocket(address, byte) {
        if (address === CR) this.command(byte);
        else if (address === IR) this.socket[IR] &= ~byte;
        else if (address !== SR && address < this.socket.length) this.socket[address] = byte;
    }

    command(code) {
        switch (code) {
            case CR_OPEN:
                this.rxRead = this.rxWrite = this.txRead = this.txWrite = 0;
                this.wireFree = 0;
                this.socket.fill(0, TX_WR, TX_WR + 2);
                this.socket.fill(0, RX_RD, RX_RD + 2);
                this.socket[SR] = (this.socket[MR] & 0x0f) === MR_MACRAW ? SOCK_MACRAW : 0;
                break;
            case CR_CLOSE:
                this.socket[SR] = 0;
                break;
            case CR_SEND:
                this.send();
                break;
            case CR_RECV:
                this.rxRead = this.word(RX_RD);
                if (this.received > 0) this.socket[IR] |= IR_RECV; // another frame is in the buffer
                break;
        }
    }

    send() {
        if (this.socket[SR] !== SOCK_MACRAW) return;
        const [from, to, size] = [this.txWrite, this.word(TX_WR), this.txSize];
        this.txWrite = to;
        const frame = new Uint8Array((to - from) & 0xffff);
        for (let index = 0; index < frame.length; index++) frame[index] = this.tx[((from + index) & 0xffff) % size];
        // Without a link SEND never ends, not even when the link comes back (esp-idf issue 6233).
        if (!this.link) this.wireFree = Infinity;
        if (this.wireFree === Infinity) return;
        this.onSend(frame);
        const start = Math.max(this.time.now, this.wireFree);
        this.wireFree = start + wireTime(frame.length);
        const { epoch } = this;
        this.time.at(this.wireFree, () => {
            if (epoch !== this.epoch) return;
            this.txRead = to;
            this.socket[IR] |= IR_SENDOK;
            this.updateInterrupt();
            if (!this.link) return;
            this.counts.sent++;
            this.onFrame(frame);
        });
    }

    word(address) {
        return (this.socket[address] << 8) | this.socket[address + 1];
    }

    // --- The interrupt pin -------------------------------------------------------------------------------------------

    get interruptLevel() {
        return !(this.common[SIMR] & 1 && this.socket[IR] & this.socket[IMR]);
    }

    updateInterrupt() {
        const level = this.interruptLevel;
        if (level !== this.lastLevel) {
            this.lastLevel = level;
            this.onInterrupt?.(level);
        }
    }
}

/** Nanoseconds on the wire at 100 Mbit/s: preamble, frame of at least 60 bytes, checksum, gap. */
export function wireTime(length) {
    return (8 + Math.max(60, length) + 4 + 12) * 80;
}

// Blocks
const COMMON = 0;
const SOCKET_0 = 1;
const TX_0 = 2;
const RX_0 = 3;

// Common registers
const MR = 0x00;
const SHAR = 0x09;
const SIR = 0x17;
const SIMR = 0x18;
const PHYCFGR = 0x2e;
const VERSIONR = 0x39;

// Socket registers; Sn_MR is at 0, too
const CR = 0x01;
const IR = 0x02;
const SR = 0x03;
const RXBUF_SIZE = 0x1e;
const TXBUF_SIZE = 0x1f;
const TX_FSR = 0x20;
const TX_RD = 0x22;
const TX_WR = 0x24;
const RX_RSR = 0x26;
const RX_RD = 0x28;
const RX_WR = 0x2a;
const IMR = 0x2c;

const MR_MACRAW = 0x04;
const MR_MFEN = 0x80;
const MR_MMB = 0x20;
const MR_MIP6B = 0x10;
const CR_OPEN = 0x01;
const CR_CLOSE = 0x10;
const CR_SEND = 0x20;
const CR_RECV = 0x40;
const IR_RECV = 0x04;
const IR_SENDOK = 0x10;
const SOCK_MACRAW = 0x42;
