// A Raspberry Pi 5's boot loader on the other end of the cable, in virtual time: DHCP, ARP, TFTP.
//
// DISCOVER and REQUEST have the fields and options captured from Pis (rpi-eeprom issue 58; issue 376 for option 97). Its
// TFTP asks again for a file after 2 s, as a Pi does; a Pi's reaction to a lost DATA packet is not known, so this client
// waits for the server, until 30 s are over.

import { BROADCAST, arp, ethernet, ip, udp } from './packets.js';

export class Pi {
    /**
     * @param cable the cable that the Pi is plugged into
     * @param {{ serial?: number, mac?: string, think?: number }} options `think`: nanoseconds from DATA to ACK
     */
    constructor(cable, { serial = 0xbd989ae1, mac = '2ccf67e8271e', think = 0 } = {}) {
        Object.assign(this, { cable, board: cable.board, serial, think });
        this.mac = Buffer.from(mac, 'hex');
        this.ip = '0.0.0.0';
        this.neighbours = new Map();
        this.unresolved = new Map();
        this.ports = new Map(); // the listeners: { receive(datagram), arrived?(), leaving?(datagram) }
        this.nextPort = 49152;
        cable.pis.push(this);
    }

    transmit(frame) {
        this.cable.transmit(frame);
    }

    receive(packet) {
        if (!packet.to.equals(this.mac) && !packet.to.equals(BROADCAST)) return;
        if (packet.arp) {
            this.resolved(packet.arp.fromIp, packet.arp.from);
            if (packet.arp.operation === 1 && packet.arp.toIp === this.ip) {
                const reply = arp(2, this.mac, this.ip, packet.arp.from, packet.arp.fromIp);
                this.transmit(ethernet(packet.arp.from, this.mac, 0x0806, reply));
            }
        } else if (packet.udp) {
            this.ports.get(packet.udp.toPort)?.receive(packet.udp);
        }
    }

    /** A frame, perhaps one of ours, has arrived in the board's chip. */
    arrived({ from, udp }) {
        if (udp && from.equals(this.mac)) this.ports.get(udp.fromPort)?.arrived?.();
    }

    /** The board's chip has been told to send a frame, perhaps one for us. */
    leaving({ to, udp }) {
        if (udp && to.equals(this.mac)) this.ports.get(udp.toPort)?.leaving?.(udp);
    }

    /** Keeps the last datagram that waits for an address to be resolved, as a small stack does. */
    send(toIp, toPort, fromPort, payload) {
        const packet = udp(this.ip, fromPort, toIp, toPort, payload);
        const mac = toIp === '255.255.255.255' ? BROADCAST : this.neighbours.get(toIp);
        if (mac) {
            this.transmit(ethernet(mac, this.mac, 0x0800, packet));
        } else {
            this.unresolved.set(toIp, packet);
            const request = arp(1, this.mac, this.ip, Buffer.alloc(6), toIp);
            this.transmit(ethernet(BROADCAST, this.mac, 0x0806, request));
        }
    }

    resolved(address, mac) {
        this.neighbours.set(address, Buffer.from(mac));
        const packet = this.unresolved.get(address);
        this.unresolved.delete(address);
        if (packet) this.transmit(ethernet(mac, this.mac, 0x0800, packet));
    }

    // --- DHCP --------------------------------------------------------------------------------------------------------

    /** Runs until an address is leased, and returns the server's ACK. */
    lease(seconds = 10) {
        let ack = null;
        const discover = () => {
            if (ack) return;
            this.send('255.255.255.255', 67, 68, this.dhcp(1));
            this.board.at(this.board.now + 2e9, discover);
        };
        const receive = ({ payload }) => {
            const reply = dhcpReply(payload);
            if (!payload.subarray(28, 34).equals(this.mac)) return;
            if (reply.type === 2) {
                const choice = Buffer.concat([Buffer.from([50, 4]), ip(reply.address), Buffer.from([54, 4]), reply.options.get(54)]);
                this.send('255.255.255.255', 67, 68, this.dhcp(3, choice));
            } else if (reply.type === 5) {
                ack = reply;
                this.ip = reply.address;
            }
        };
        this.ports.set(68, { receive });
        discover();
        const leased = this.board.run(this.board.now + seconds * 1e9, () => ack !== null);
        this.ports.delete(68);
        if (!leased) throw new Error(`no lease in ${seconds} s`);
        return ack;
    }

    /** Sends one DISCOVER and returns the first offer, or null if none comes within `seconds`. */
    discover(seconds = 3) {
        let offer = null;
        this.ports.set(68, { receive: ({ payload }) => (offer ??= dhcpReply(payload)) });
        this.send('255.255.255.255', 67, 68, this.dhcp(1));
        this.board.run(this.board.now + seconds * 1e9, () => offer !== null);
        this.ports.delete(68);
        return offer;
    }

    dhcp(type, more = Buffer.alloc(0)) {
        const head = Buffer.alloc(240);
        head[0] = head[1] = 1;
        head[2] = 6;
        head.writeUInt32BE(0x9a3c1b02, 4);
        this.mac.copy(head, 28);
        head.writeUInt32BE(0x63825363, 236);
        const guid = Buffer.alloc(17);
        guid.write('RPi5', 1, 'latin1');
        guid.writeUInt32LE(0xd04170, 5);
        this.mac.copy(guid, 9, 2);
        guid.writeUInt32LE(this.serial, 13);
        const kind = 'PXEClient:Arch:00000:UNDI:002001';
        return Buffer.concat([
            head,
            Buffer.from([53, 1, type, 55, 14, 1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135]),
            more,
            Buffer.from([93, 2, 0, 0, 94, 3, 1, 2, 1, 97, 17]),
            guid,
            Buffer.from([60, kind.length]),
            Buffer.from(kind),
            Buffer.of(255),
        ]);
    }

    // --- TFTP --------------------------------------------------------------------------------------------------------

    /** Fetches a file: the outcome, the bytes, and the board's time for each block, in nanoseconds. */
    fetch(server, path, options = {}) {
        const transfer = new Transfer(this, server, path, options);
        finish([transfer], options.seconds);
        return transfer;
    }

    /** Asks for a file's size, as a Pi does before it fetches the file; null if the file is missing. */
    probe(server, path) {
        const transfer = this.fetch(server, path, { probe: true });
        return transfer.outcome === 'probed' ? transfer.size : null;
    }
}

/** Runs the board until all transfers are over; a transfer that is not after `seconds` is given up. */
export function finish(transfers, seconds = 30) {
    const [{ pi }] = transfers;
    pi.board.run(pi.board.now + seconds * 1e9, () => transfers.every(({ outcome }) => outcome !== null));
    for (const transfer of transfers) transfer.close();
}

/** One request and its outcome: 'complete', 'probed', 'given up', or { code, words } of an ERROR. */
export class Transfer {
    constructor(pi, server, path, { blksize = 1024, probe = false, onBlock = () => {} } = {}) {
        Object.assign(this, { pi, server, blksize, probe, onBlock });
        this.port = pi.nextPort++;
        this.peer = null;
        this.chunks = [];
        this.expected = 1;
        this.outcome = null;
        this.size = null;
        this.turnarounds = [];
        this.duplicates = 0;
        this.inChip = null;
        this.began = pi.board.now;
        pi.ports.set(this.port, this);
        const request = Buffer.from(`\0\x01${path}\0octet\0tsize\x000\0blksize\0${blksize}\0`, 'latin1');
        this.ask = () => {
            if (this.peer || this.outcome) return;
            pi.send(server, 69, this.port, request);
            pi.board.at(pi.board.now + 2e9, this.ask);
        };
        this.ask();
    }

    // From the arrival of our packet in the chip to the command to send DATA.

    arrived() {
        this.inChip = this.pi.board.now;
    }

    leaving({ payload }) {
        if (payload[1] !== DATA || this.inChip === null) return;
        this.turnarounds.push(this.pi.board.now - this.inChip);
        this.inChip = null;
    }

    close() {
        if (this.outcome === null) this.end('given up');
        this.pi.ports.delete(this.port);
    }

    /** Ends the transfer after `nanos` nanoseconds. */
    end(outcome) {
        this.outcome = outcome;
        this.nanos = this.pi.board.now - this.began;
    }

    get bytes() {
        return Buffer.concat(this.chunks);
    }

    receive({ fromPort, payload }) {
        this.peer ??= fromPort;
        if (this.outcome || fromPort !== this.peer) return;
        switch (payload.readUInt16BE(0)) {
            case OACK:
                return this.agreed(payload);
            case DATA:
                return this.data(payload);
            case ERROR:
                this.end({ code: payload.readUInt16BE(2), words: payload.toString('latin1', 4, payload.length - 1) });
        }
    }

    agreed(payload) {
        const words = payload.toString('latin1', 2).split('\0');
        for (let index = 0; index + 1 < words.length; index += 2) {
            if (words[index] === 'tsize') this.size = Number(words[index + 1]);
            if (words[index] === 'blksize') this.blksize = Number(words[index + 1]);
        }
        if (!this.probe) return this.answer(Buffer.from([0, ACK, 0, 0]));
        this.answer(Buffer.from('\0\x05\0\0Early terminate\0', 'latin1'));
        this.end('probed');
    }

    data(payload) {
        const block = payload.readUInt16BE(2);
        const ack = Buffer.from([0, ACK, payload[2], payload[3]]);
        if (block !== (this.expected & 0xffff)) {
            this.duplicates++;
            return this.answer(ack);
        }
        const bytes = Buffer.from(payload.subarray(4));
        this.chunks.push(bytes);
        this.expected++;
        this.onBlock(this);
        this.answer(ack);
        if (bytes.length < this.blksize) this.end('complete');
    }

    answer(payload) {
        const { pi, server, peer, port } = this;
        if (pi.think === 0) pi.send(server, peer, port, payload);
        else pi.board.at(pi.board.now + pi.think, () => pi.send(server, peer, port, payload));
    }
}

/** A file that is written to the server, and the outcome. */
export class Upload {
    constructor(pi, server, path, bytes, { blksize = 1468 } = {}) {
        Object.assign(this, { pi, server, bytes, blksize });
        this.port = pi.nextPort++;
        this.peer = null;
        this.outcome = null;
        this.block = 0; // the last one that was sent
        pi.ports.set(this.port, this);
        const options = `tsize\0${bytes.length}\0blksize\0${blksize}\0`;
        this.last = Buffer.from(`\0\x02${path}\0octet\0${options}`, 'latin1');
        this.repeat = () => {
            if (this.outcome) return;
            pi.send(server, this.peer ?? 69, this.port, this.last);
            pi.board.at(pi.board.now + 2e9, this.repeat);
        };
        this.repeat();
    }

    arrived() {}

    leaving() {}

    close() {
        this.outcome ??= 'given up';
        this.pi.ports.delete(this.port);
    }

    receive({ fromPort, payload }) {
        this.peer ??= fromPort;
        if (this.outcome || fromPort !== this.peer) return;
        switch (payload.readUInt16BE(0)) {
            case OACK:
                return this.block === 0 && this.next();
            case ACK:
                return payload.readUInt16BE(2) === this.block && this.next();
            case ERROR:
                this.outcome = { code: payload.readUInt16BE(2), words: payload.toString('latin1', 4, payload.length - 1) };
        }
    }

    next() {
        const from = this.block * this.blksize;
        if (from > this.bytes.length) {
            this.outcome = 'complete';
            return;
        }
        this.block++;
        const head = Buffer.from([0, DATA, this.block >> 8, this.block & 0xff]);
        this.last = Buffer.concat([head, this.bytes.subarray(from, from + this.blksize)]);
        this.pi.send(this.server, this.peer, this.port, this.last);
    }
}

function dhcpReply(payload) {
    const options = new Map();
    for (let at = 240; at < payload.length && payload[at] !== 255; at += payload[at] === 0 ? 1 : 2 + payload[at + 1]) {
        if (payload[at] !== 0) options.set(payload[at], payload.subarray(at + 2, at + 2 + payload[at + 1]));
    }
    return { type: options.get(53)?.[0], address: [...payload.subarray(16, 20)].join('.'), options };
}

const DATA = 3;
const ACK = 4;
const ERROR = 5;
const OACK = 6;
