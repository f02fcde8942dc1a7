// A browser on the switch, in virtual time: TCP that asks once and takes what comes in order, and a multicast DNS query.

import { BROADCAST, arp, ethernet, tcp, udp } from './packets.js';
import { ACK, FIN, PSH, RST, SYN } from './w5500-tcp.js';

export class Browser {
    constructor(cable, { mac = '02000000be00', ip = '10.55.0.60' } = {}) {
        Object.assign(this, { cable, board: cable.board, ip });
        this.mac = Buffer.from(mac, 'hex');
        this.port = 40000;
        this.connection = null;
        this.datagrams = [];
        cable.pis.push(this);
    }

    arrived() {}

    leaving() {}

    receive({ to, arp: request, tcp: segment, udp: datagram }) {
        if (request?.operation === 1 && request.toIp === this.ip) {
            const reply = arp(2, this.mac, this.ip, request.from, request.fromIp);
            this.cable.transmit(ethernet(request.from, this.mac, 0x0806, reply));
        } else if (request?.operation === 2 && to.equals(this.mac)) {
            this.neighbour = Buffer.from(request.from);
        } else if (segment && to.equals(this.mac)) {
            this.advance(segment);
        } else if (datagram && to.equals(GROUP_MAC)) {
            this.datagrams.push({ ...datagram, payload: Buffer.from(datagram.payload) });
        }
    }

    // --- HTTP --------------------------------------------------------------------------------------------------------

    /** The answer to a request, in pieces of that length: text, 'refused', or null if nothing comes in `seconds`. */
    ask(server, request, { seconds = 5, piece = 1460 } = {}) {
        const connection = this.connect(server, request, piece);
        this.board.run(this.board.now + seconds * 1e9, () => connection.outcome !== null);
        this.connection = null;
        return connection.outcome;
    }

    /** Opens a connection; without a request it stays silent. */
    connect(server, request = null, piece = 1460) {
        const start = (0xfffffff0 + this.port) >>> 0;
        const connection = { server, port: this.port++, next: start, expected: null, request, piece, body: [], outcome: null };
        this.connection = connection;
        this.neighbour = null;
        const question = arp(1, this.mac, this.ip, Buffer.alloc(6), server);
        this.cable.transmit(ethernet(BROADCAST, this.mac, 0x0806, question));
        const knock = () => {
            if (this.connection !== connection || connection.expected !== null || connection.outcome !== null) return;
            if (this.neighbour) this.segment(connection, SYN, Buffer.alloc(0), { seq: start, mss: 1460 });
            this.board.at(this.board.now + 1e9, knock);
        };
        this.board.at(this.board.now + 10e6, knock);
        return connection;
    }

    advance({ fromPort, toPort, seq, flags, payload }) {
        const { connection: own } = this;
        if (!own || fromPort !== 80 || toPort !== own.port) return;
        if (flags & RST) {
            own.outcome ??= own.expected === null ? 'refused' : 'reset';
            return;
        }
        if (flags & SYN) {
            if (own.expected !== null) return;
            own.expected = seq + 1;
            own.next += 1;
            this.segment(own, ACK);
            const request = Buffer.from(own.request ?? '');
            for (let at = 0; at < request.length; at += own.piece) {
                const part = request.subarray(at, at + own.piece);
                this.segment(own, ACK | PSH, part);
                own.next += part.length;
            }
            return;
        }
        if (own.expected >>> 0 === seq >>> 0) {
            own.body.push(Buffer.from(payload));
            own.expected += payload.length;
            if (flags & FIN) {
                own.expected += 1;
                own.outcome = Buffer.concat(own.body).toString();
                this.segment(own, FIN | ACK);
                return;
            }
        }
        if (payload.length > 0) this.segment(own, ACK);
    }

    segment(own, flags, payload = Buffer.alloc(0), { seq, mss } = {}) {
        const head = { fromPort: own.port, toPort: 80, seq: seq ?? own.next, ack: own.expected ?? 0, flags, window: 8192, mss };
        this.cable.transmit(ethernet(this.neighbour, this.mac, 0x0800, tcp(this.ip, own.server, head, payload)));
    }

    // --- Multicast DNS -----------------------------------------------------------------------------------------------

    /** Asks the group; the datagrams to the group that come within `seconds`. */
    query(question, seconds = 0.5) {
        this.datagrams = [];
        const head = Buffer.from([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        const packet = udp(this.ip, 5353, '224.0.0.251', 5353, Buffer.concat([head, question]), 255);
        this.cable.transmit(ethernet(GROUP_MAC, this.mac, 0x0800, packet));
        this.board.run(this.board.now + seconds * 1e9, () => this.datagrams.length > 0);
        return this.datagrams;
    }
}

const GROUP_MAC = Buffer.from('01005e0000fb', 'hex');
