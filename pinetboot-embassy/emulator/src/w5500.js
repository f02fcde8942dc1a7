// The W5500 Ethernet chip, as a driver sees it (WIZnet's data sheet, version 1.1.0).
//
// Modelled: the SPI frame with variable length (2.2), the registers that a driver uses, eight sockets for UDP and TCP, of which socket 0
// may take whole frames instead (MACRAW), with the commands OPEN, LISTEN, CLOSE, DISCON, SEND, SEND_MAC and RECV; their buffers with wrap and limits, 16 KB in
// all each way; the interrupt pin (an interrupt can be lost), the reset pin, the PHY's link bit and how long the PHY negotiates, and
// 100 Mbit/s: a frame is out, and its room in the buffer free, after its time on the wire; never without a link. `w5500-ip.js` has what
// the chip does by itself: ARP, ping, IPv4 and UDP. Not modelled: TCP, IPRAW, PPPoE, Wake on LAN, fixed-length SPI frames, fragments,
// and how long the chip itself takes.

import { Ip } from './w5500-ip.js';

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
        /** Called with each frame of a SEND, before its time on the wire. */
        this.onSend = () => {};
        /** Called with the level of the interrupt pin. */
        this.onInterrupt = () => {};
        /** What the chip reports as the length of the next frame or datagram, instead of the truth. */
        this.nextLength = null;
        /** Whether the interrupt of a received frame is lost: RECV of Sn_IR stays 0, and only RX_RSR shows the frame. */
        this.losesInterrupt = () => false;
        this.counts = { received: 0, sent: 0, full: 0, filtered: 0, closed: 0, unresolved: 0, misused: 0 };
        this.inReset = false;
        this.connections = 0;
        this.reset();
    }

    reset() {
        this.common = new Uint8Array(0x40);
        this.common[VERSIONR] = 4;
        this.common[RTR] = 0x07; // 2000 times 0.1 ms
        this.common[RTR + 1] = 0xd0;
        this.common[RCR] = 8;
        this.sockets = Array.from({ length: 8 }, () => new Socket());
        this.ip = new Ip(this);
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

    /** A frame arrives from the wire; returns whether a socket keeps it. */
    receive(frame) {
        if (this.inReset || !this.link) return this.drop('closed');
        const [first] = this.sockets;
        if (first.state !== SOCK_MACRAW) return this.ip.receive(frame);
        if (!this.accepts(frame, first.registers[MR])) return this.drop('filtered');
        const length = frame.length + 2;
        const told = this.nextLength ?? length;
        return this.keep(first, length, [told >> 8, told & 0xff], frame);
    }

    /** Puts bytes into a socket's receive buffer, after what the chip says of them; returns whether there was room. */
    keep(socket, length, head, bytes) {
        if (socket.received + length > socket.rxSize) return this.drop('full');
        this.nextLength = null;
        socket.push(head);
        socket.push(bytes);
        this.counts.received++;
        if (!this.losesInterrupt()) socket.registers[IR] |= IR_RECV;
        this.updateInterrupt();
        return true;
    }

    accepts(frame, mode) {
        const [type, isMulticast] = [(frame[12] << 8) | frame[13], (frame[0] & 1) === 1 && frame[0] !== 0xff];
        if (mode & MR_MMB && isMulticast) return false;
        if (mode & MR_MIP6B && type === 0x86dd) return false;
        if (!(mode & MR_MFEN)) return true;
        const isMine = this.common.subarray(SHAR, SHAR + 6).every((byte, index) => byte === frame[index]);
        return isMine || (frame[0] & 1) === 1; // broadcast and multicast pass
    }

    drop(why) {
        this.counts[why]++;
        return false;
    }

    /** Puts a frame on the wire after those before it; calls `out` when its last bit is there. */
    transmit(frame, out = () => {}) {
        this.wireFree = Math.max(this.time.now, this.wireFree) + wireTime(frame.length);
        const { epoch } = this;
        this.time.at(this.wireFree, () => {
            if (epoch !== this.epoch) return;
            out();
            if (this.link) this.onFrame(frame);
        });
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
            return 0x01; // the data sheet's pictures show 1, 2, 3 here; no driver reads them
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
        if (block === COMMON) {
            if (address === PHYCFGR) return 0b10111110 | (this.link ? 1 : 0); // 100 Mbit/s, full duplex
            if (address === SIR) return this.socketInterrupts;
            return this.common[address] ?? 0;
        }
        return this.sockets[block >> 2].read(block & 3, address);
    }

    write(block, address, byte) {
        if (block !== COMMON) this.writeSocket(this.sockets[block >> 2], block & 3, address, byte);
        else if (address === MR && byte & 0x80) this.reset();
        else if (address === COMMON_IR) this.common[COMMON_IR] &= ~byte;
        else if (address < this.common.length && address !== VERSIONR) this.common[address] = byte;
        this.updateInterrupt();
    }

    writeSocket(socket, part, address, byte) {
        if (part === REGISTERS && address === CR) this.command(socket, byte);
        else socket.write(part, address, byte);
    }

    command(socket, code) {
        switch (code) {
            case CR_OPEN: {
                const isTooMuch = (size) => this.sockets.reduce((sum, { registers }) => sum + registers[size], 0) > 16;
                if (isTooMuch(RXBUF_SIZE) || isTooMuch(TXBUF_SIZE)) throw new Error('the sockets have more than 16 KB');
                socket.open(socket === this.sockets[0]);
                break;
            }
            case CR_LISTEN:
                this.ip.tcp.listen(socket);
                break;
            case CR_DISCON:
                this.ip.tcp.disconnect(socket);
                break;
            case CR_CLOSE:
                socket.close();
                break;
            case CR_SEND:
            case CR_SEND_MAC:
                this.send(socket, code);
                break;
            case CR_RECV:
                socket.rxRead = socket.word(RX_RD);
                if (socket.received > 0) socket.registers[IR] |= IR_RECV; // more is in the buffer
                break;
        }
    }

    send(socket, code) {
        if (socket.state === 0) return;
        // The data sheet has the host wait for SENDOK; what happens else is not known.
        if (socket.sending && socket.state === SOCK_UDP) this.counts.misused++;
        const isConnected = socket.connection !== null;
        if (socket.isTcp && !isConnected) return;
        const bytes = socket.take();
        if (isConnected) return this.ip.tcp.send(socket, bytes);
        // Without a link SEND never ends, not even when the link comes back (esp-idf issue 6233).
        if (!this.link) socket.stuck = true;
        if (socket.stuck) return;
        if (socket.state === SOCK_UDP) this.ip.send(socket, bytes, code === CR_SEND_MAC);
        else this.sendFrame(socket, bytes);
    }

    sendFrame(socket, frame) {
        const [end, { opening }] = [socket.txWrite, socket];
        this.onSend(frame);
        this.transmit(frame, () => {
            if (opening !== socket.opening) return;
            socket.txRead = end;
            socket.registers[IR] |= IR_SENDOK;
            this.updateInterrupt();
            if (this.link) this.counts.sent++;
        });
    }

    /** No answer to ARP. The datagram keeps its room: the data sheet does not say that the chip gives it back. */
    timedOut(socket) {
        socket.registers[IR] |= IR_TIMEOUT;
        this.counts.unresolved++;
        this.updateInterrupt();
    }

    // --- The interrupt pin -------------------------------------------------------------------------------------------

    /** SIR: the sockets with an interrupt that their mask lets through. */
    get socketInterrupts() {
        return this.sockets.reduce((set, { registers }, index) => set | (registers[IR] & registers[IMR] ? 1 << index : 0), 0);
    }

    get interruptLevel() {
        return !(this.common[SIMR] & this.socketInterrupts || this.common[COMMON_IR] & this.common[COMMON_IMR]);
    }

    updateInterrupt() {
        const level = this.interruptLevel;
        if (level !== this.lastLevel) {
            this.lastLevel = level;
            this.onInterrupt?.(level);
        }
    }
}

/** One of the eight: registers, and a buffer each way. */
class Socket {
    constructor() {
        this.registers = new Uint8Array(0x30);
        this.registers[RXBUF_SIZE] = 2;
        this.registers[TXBUF_SIZE] = 2;
        this.registers[TTL] = 128;
        this.registers[IMR] = 0xff;
        this.rx = new Uint8Array(16 * 1024);
        this.tx = new Uint8Array(16 * 1024);
        this.opening = 0;
        this.empty();
    }

    empty() {
        this.rxWrite = 0; // the chip's own pointer; rxRead and txWrite are the driver's, as of its last command
        this.rxRead = 0;
        this.txWrite = 0;
        this.txRead = 0;
        this.stuck = false;
        this.connection = null;
        this.resolved = null; // the last address that ARP found, and its hardware address
        this.opening++; // what is under way belongs to an earlier one
    }

    get state() {
        return this.registers[SR];
    }

    get isTcp() {
        return (this.registers[MR] & 0x0f) === MR_TCP;
    }

    raise(event) {
        this.registers[IR] |= event;
    }

    get sending() {
        return this.txWrite !== this.txRead;
    }

    /** Bytes in the receive buffer, as of the driver's last RECV. */
    get received() {
        return (this.rxWrite - this.rxRead) & 0xffff;
    }

    get rxSize() {
        return Math.min(this.registers[RXBUF_SIZE], 16) * 1024;
    }

    get txSize() {
        return Math.min(this.registers[TXBUF_SIZE], 16) * 1024;
    }

    open(isFirst) {
        this.empty();
        this.registers.fill(0, TX_WR, TX_WR + 2);
        this.registers.fill(0, RX_RD, RX_RD + 2);
        const protocol = this.registers[MR] & 0x0f;
        const states = { [MR_TCP]: SOCK_INIT, [MR_UDP]: SOCK_UDP, [MR_MACRAW]: isFirst ? SOCK_MACRAW : 0 };
        this.registers[SR] = states[protocol] ?? 0;
    }

    close() {
        this.registers[SR] = 0;
        this.connection = null;
        this.opening++;
    }

    push(bytes) {
        for (const byte of bytes) {
            this.rx[this.rxWrite % this.rxSize] = byte;
            this.rxWrite = (this.rxWrite + 1) & 0xffff;
        }
    }

    /** The bytes between the last SEND's end and the driver's pointer. */
    take() {
        const from = this.txWrite;
        this.txWrite = this.word(TX_WR);
        const bytes = new Uint8Array((this.txWrite - from) & 0xffff);
        return bytes.map((_, index) => this.tx[((from + index) & 0xffff) % this.txSize]);
    }

    word(address) {
        return (this.registers[address] << 8) | this.registers[address + 1];
    }

    read(part, address) {
        if (part === TX) return this.tx[address % (this.txSize || 1)];
        if (part === RX) return this.rx[address % (this.rxSize || 1)];
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
                return this.registers[address] ?? 0;
        }
    }

    write(part, address, byte) {
        if (part === TX && this.txSize) this.tx[address % this.txSize] = byte;
        else if (part === RX && this.rxSize) this.rx[address % this.rxSize] = byte;
        else if (part !== REGISTERS) return;
        else if (address === IR) this.registers[IR] &= ~byte;
        else if (address !== SR && address < this.registers.length) this.registers[address] = byte;
    }
}

/** Nanoseconds on the wire at 100 Mbit/s: preamble, frame of at least 60 bytes, checksum, gap. */
export function wireTime(length) {
    return (8 + Math.max(60, length) + 4 + 12) * 80;
}

// Blocks: the common registers, and for each socket three parts
const COMMON = 0;
const REGISTERS = 1;
const TX = 2;
const RX = 3;

// Common registers
const MR = 0x00;
const SHAR = 0x09;
const COMMON_IR = 0x15;
const COMMON_IMR = 0x16;
const SIR = 0x17;
const SIMR = 0x18;
const RTR = 0x19;
const RCR = 0x1b;
const PHYCFGR = 0x2e;
const VERSIONR = 0x39;

// Socket registers; Sn_MR is at 0, too
const CR = 0x01;
const IR = 0x02;
const SR = 0x03;
const TTL = 0x16;
const RXBUF_SIZE = 0x1e;
const TXBUF_SIZE = 0x1f;
const TX_FSR = 0x20;
const TX_RD = 0x22;
const TX_WR = 0x24;
const RX_RSR = 0x26;
const RX_RD = 0x28;
const RX_WR = 0x2a;
const IMR = 0x2c;

const MR_TCP = 0x01;
const MR_UDP = 0x02;
const MR_MACRAW = 0x04;
const MR_MFEN = 0x80;
const MR_MMB = 0x20;
const MR_MIP6B = 0x10;
const CR_OPEN = 0x01;
const CR_LISTEN = 0x02;
const CR_DISCON = 0x08;
const CR_CLOSE = 0x10;
const CR_SEND = 0x20;
const CR_SEND_MAC = 0x21;
const CR_RECV = 0x40;
const IR_RECV = 0x04;
const IR_TIMEOUT = 0x08;
const IR_SENDOK = 0x10;
const SOCK_INIT = 0x13;
const SOCK_UDP = 0x22;
const SOCK_MACRAW = 0x42;
