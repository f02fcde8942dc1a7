import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ethernet, ip, parse, tcp } from '../src/packets.js';
import { W5500 } from '../src/w5500.js';
import { ACK, FIN, PSH, RST, SYN } from '../src/w5500-tcp.js';
import { VirtualTime } from './virtual-time.js';

const [REGISTERS, TX, RX] = [9, 10, 11]; // of socket 2
const OURS = { mac: Buffer.from('020000000001', 'hex'), ip: '10.55.0.1' };
const PEER = { mac: Buffer.from('2ccf67000001', 'hex'), ip: '10.55.0.77' };
const [LISTEN, ESTABLISHED, FIN_WAIT, CLOSE_WAIT] = [0x14, 0x17, 0x18, 0x1c];

/** Socket 2 listens on port 80; `sent` are the segments on the wire. */
function chip() {
    const time = new VirtualTime();
    const chip = new W5500(time);
    const sent = [];
    chip.onFrame = (frame) => sent.push(parse(frame).tcp);
    write(chip, 0, 0x01, [0, 0, 0, 0, 255, 255, 255, 0, ...OURS.mac, ...ip(OURS.ip), 0, 0, 0, 0]);
    write(chip, 0, 0x19, [0, 100, 2]); // 10 ms, twice more
    write(chip, REGISTERS, 0x00, [1]);
    write(chip, REGISTERS, 0x04, [0, 80]);
    write(chip, REGISTERS, 0x01, [0x01]);
    write(chip, REGISTERS, 0x01, [0x02]);
    assert.equal(status(chip), LISTEN);
    return { chip, time, sent };
}

function write(chip, block, address, bytes) {
    chip.select(true);
    for (const byte of [address >> 8, address & 0xff, (block << 3) | 4, ...bytes]) chip.exchange(byte);
    chip.select(false);
}

function read(chip, block, address, count) {
    chip.select(true);
    for (const byte of [address >> 8, address & 0xff, block << 3]) chip.exchange(byte);
    const bytes = Array.from({ length: count }, () => chip.exchange(0));
    chip.select(false);
    return bytes;
}

const status = (chip) => read(chip, REGISTERS, 0x03, 1)[0];
const segment = (seq, ack, flags, text = '', port = 80) => {
    const head = { fromPort: 4000, toPort: port, seq, ack, flags, window: 8192, mss: flags === SYN ? 1460 : undefined };
    return ethernet(OURS.mac, PEER.mac, 0x0800, tcp(PEER.ip, OURS.ip, head, Buffer.from(text)));
};

/** Runs the model's clock for that time. */
function wait(time, nanos) {
    const end = time.now + nanos;
    while (time.queue[0]?.nanos <= end) {
        const { nanos: at, callback } = time.queue.shift();
        time.now = Math.max(time.now, at);
        callback();
    }
    time.now = end;
}

function connect({ chip: it, time, sent }) {
    it.receive(segment(99, 0, SYN));
    wait(time, 1e6);
    const [{ seq, ack, flags }] = sent.splice(0);
    assert.deepEqual([ack, flags], [100, SYN | ACK]);
    it.receive(segment(100, seq + 1, ACK));
    assert.equal(status(it), ESTABLISHED);
    return seq + 1;
}

test('a connection: a request, an answer, and the end of both sides', () => {
    const parts = chip();
    const { chip: it, time, sent } = parts;
    const start = connect(parts);
    assert.ok(it.receive(segment(100, start, ACK | PSH, 'hello')));
    assert.deepEqual(read(it, RX, 0, 5), [...Buffer.from('hello')]);
    it.receive(segment(100, start, ACK | PSH, 'hello')); // again
    assert.deepEqual(read(it, REGISTERS, 0x26, 2), [0, 5]);
    write(it, TX, 0, [...Buffer.alloc(2000, 0x61)]);
    write(it, REGISTERS, 0x24, [2000 >> 8, 2000 & 0xff]);
    write(it, REGISTERS, 0x01, [0x20]);
    wait(time, 1e6);
    assert.deepEqual(sent.map(({ payload }) => payload.length), [0, 0, 1460, 540]);
    assert.equal(read(it, REGISTERS, 0x02, 1)[0] & 0x10, 0, 'not acknowledged yet');
    it.receive(segment(105, start + 2000, ACK));
    assert.equal(read(it, REGISTERS, 0x02, 1)[0] & 0x10, 0x10);
    assert.deepEqual(read(it, REGISTERS, 0x20, 2), [8, 0]);
    write(it, REGISTERS, 0x01, [0x08]);
    assert.equal(status(it), FIN_WAIT);
    it.receive(segment(105, start + 2001, FIN | ACK));
    wait(time, 1e9);
    assert.equal(status(it), 0);
    assert.deepEqual(sent.slice(4).map(({ flags, ack }) => [flags, ack]), [[FIN | ACK, 105], [ACK, 106]]);
});

test('a peer that ends its side first', () => {
    const parts = chip();
    const { chip: it, time } = parts;
    const start = connect(parts);
    it.receive(segment(100, start, FIN | ACK));
    assert.equal(status(it), CLOSE_WAIT);
    write(it, REGISTERS, 0x01, [0x08]);
    it.receive(segment(101, start + 1, ACK));
    wait(time, 1e6);
    assert.equal(status(it), 0);
});

test('what is not acknowledged is sent again, and then the connection is closed', () => {
    const parts = chip();
    const { chip: it, time, sent } = parts;
    connect(parts);
    write(it, TX, 0, [1, 2, 3]);
    write(it, REGISTERS, 0x24, [0, 3]);
    write(it, REGISTERS, 0x01, [0x20]);
    wait(time, 69e6);
    assert.equal(status(it), ESTABLISHED);
    wait(time, 2e6);
    assert.equal(sent.length, 3);
    assert.equal(status(it), 0);
    assert.equal(read(it, REGISTERS, 0x02, 1)[0] & 0x08, 0x08);
});

test('what is for no socket is refused, and RST ends a connection', () => {
    const parts = chip();
    const { chip: it, time, sent } = parts;
    it.receive(segment(5, 0, SYN, '', 81));
    it.receive(segment(5, 9, ACK, 'text'));
    wait(time, 1e6);
    assert.deepEqual(sent.splice(0).map(({ flags, ack }) => [flags, ack]), [[RST | ACK, 6], [RST | ACK, 9]]);
    const start = connect(parts);
    it.receive(segment(100, start, RST));
    assert.equal(status(it), 0);
    wait(time, 1e9);
    assert.equal(sent.length, 0);
});
