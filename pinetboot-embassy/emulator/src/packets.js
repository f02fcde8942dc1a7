// Ethernet, ARP, IPv4, UDP and TCP: the part that a netbooting client and a browser send and read.

export const BROADCAST = Buffer.from('ffffffffffff', 'hex');

export function ethernet(to, from, type, payload) {
    const frame = Buffer.concat([to, from, Buffer.of(type >> 8, type & 0xff), payload]);
    return frame.length >= 60 ? frame : Buffer.concat([frame, Buffer.alloc(60 - frame.length)]);
}

export function arp(operation, from, fromIp, to, toIp) {
    return Buffer.concat([Buffer.from([0, 1, 8, 0, 6, 4, 0, operation]), from, ip(fromIp), to, ip(toIp)]);
}

export function udp(fromIp, fromPort, toIp, toPort, payload, timeToLive = 64) {
    const packet = Buffer.alloc(28 + payload.length);
    packet[0] = 0x45;
    packet.writeUInt16BE(packet.length, 2);
    packet[8] = timeToLive;
    packet[9] = 17;
    ip(fromIp).copy(packet, 12);
    ip(toIp).copy(packet, 16);
    packet.writeUInt16BE(checksum(packet.subarray(0, 20)), 10);
    packet.writeUInt16BE(fromPort, 20);
    packet.writeUInt16BE(toPort, 22);
    packet.writeUInt16BE(8 + payload.length, 24);
    payload.copy(packet, 28);
    packet.writeUInt16BE(sumWithAddresses(packet) || 0xffff, 26);
    return packet;
}

export function tcp(fromIp, toIp, { fromPort, toPort, seq, ack, flags, window, mss }, payload) {
    const options = mss ? Buffer.of(2, 4, mss >> 8, mss & 0xff) : Buffer.alloc(0);
    const packet = Buffer.concat([Buffer.alloc(40), options, payload]);
    packet[0] = 0x45;
    packet.writeUInt16BE(packet.length, 2);
    packet[8] = 64;
    packet[9] = 6;
    ip(fromIp).copy(packet, 12);
    ip(toIp).copy(packet, 16);
    packet.writeUInt16BE(checksum(packet.subarray(0, 20)), 10);
    packet.writeUInt16BE(fromPort, 20);
    packet.writeUInt16BE(toPort, 22);
    packet.writeUInt32BE(seq >>> 0, 24);
    packet.writeUInt32BE(ack >>> 0, 28);
    packet[32] = (5 + options.length / 4) << 4;
    packet[33] = flags;
    packet.writeUInt16BE(window, 34);
    packet.writeUInt16BE(sumWithAddresses(packet), 36);
    return packet;
}

/** An answer to an ICMP echo request, whose identifier, number and data are `body`. */
export function echoReply(fromIp, toIp, body) {
    return echo(0, fromIp, toIp, body);
}

export function echoRequest(fromIp, toIp, body) {
    return echo(8, fromIp, toIp, body);
}

function echo(type, fromIp, toIp, body) {
    const packet = Buffer.alloc(24 + body.length);
    packet[0] = 0x45;
    packet.writeUInt16BE(packet.length, 2);
    packet[8] = 64;
    packet[9] = 1;
    ip(fromIp).copy(packet, 12);
    ip(toIp).copy(packet, 16);
    packet.writeUInt16BE(checksum(packet.subarray(0, 20)), 10);
    packet[20] = type;
    body.copy(packet, 24);
    packet.writeUInt16BE(checksum(packet.subarray(20)), 22);
    return packet;
}

/** @returns {{ from: Buffer, type: number, arp?: object, udp?: object, tcp?: object, echo?: object }} the parts of a frame, its sums checked */
export function parse(frame) {
    const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.length);
    const parsed = { to: bytes.subarray(0, 6), from: bytes.subarray(6, 12), type: bytes.readUInt16BE(12) };
    const body = bytes.subarray(14);
    if (parsed.type === 0x0806) {
        parsed.arp = { operation: body.readUInt16BE(6), from: body.subarray(8, 14), fromIp: text(body, 14), toIp: text(body, 24) };
    } else if (parsed.type === 0x0800 && body[9] === 17) {
        const packet = body.subarray(0, body.readUInt16BE(2));
        if (checksum(packet.subarray(0, 20)) !== 0) throw new Error('wrong IPv4 checksum');
        if (packet.readUInt16BE(26) !== 0 && sumWithAddresses(packet) !== 0) throw new Error('wrong UDP checksum');
        parsed.udp = {
            fromIp: text(packet, 12),
            toIp: text(packet, 16),
            fromPort: packet.readUInt16BE(20),
            toPort: packet.readUInt16BE(22),
            timeToLive: packet[8],
            payload: packet.subarray(28),
        };
    } else if (parsed.type === 0x0800 && body[9] === 6) {
        const packet = body.subarray(0, body.readUInt16BE(2));
        if (checksum(packet.subarray(0, 20)) !== 0) throw new Error('wrong IPv4 checksum');
        if (sumWithAddresses(packet) !== 0) throw new Error('wrong TCP checksum');
        const data = 20 + (packet[32] >> 4) * 4;
        parsed.tcp = {
            fromIp: text(packet, 12),
            toIp: text(packet, 16),
            fromPort: packet.readUInt16BE(20),
            toPort: packet.readUInt16BE(22),
            seq: packet.readUInt32BE(24),
            ack: packet.readUInt32BE(28),
            flags: packet[33] & 0x3f,
            window: packet.readUInt16BE(34),
            mss: data > 40 && packet[40] === 2 ? packet.readUInt16BE(42) : undefined,
            payload: packet.subarray(data),
        };
    } else if (parsed.type === 0x0800 && body[9] === 1) {
        const packet = body.subarray(0, body.readUInt16BE(2));
        if (checksum(packet.subarray(20)) !== 0) throw new Error('wrong ICMP checksum');
        parsed.echo = { reply: packet[20] === 0, fromIp: text(packet, 12), toIp: text(packet, 16), body: packet.subarray(24) };
    }
    return parsed;
}

export function ip(address) {
    return Buffer.from(address.split('.').map(Number));
}

function text(bytes, at) {
    return [...bytes.subarray(at, at + 4)].join('.');
}

function checksum(bytes, start = 0) {
    let sum = start;
    for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at] << 8) | (bytes[at + 1] ?? 0);
    while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
    return ~sum & 0xffff;
}

/** Over the pseudo header and all of UDP or TCP; 0 if the sum in the packet is right. */
function sumWithAddresses(packet) {
    let sum = packet[9] + packet.length - 20;
    for (let at = 12; at < 20; at += 2) sum += packet.readUInt16BE(at);
    return checksum(packet.subarray(20), sum);
}
