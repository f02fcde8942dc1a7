import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BROADCAST, arp, echoRequest, ethernet, ip, parse, udp } from '../src/packets.js';
import { W5500 } from '../src/w5500.js';
import { VirtualTime } from './virtual-time.js';

const COMMON = 0;
const [REGISTERS, TX, RX] = [9, 10, 11]; // of socket 2
const OURS = { mac: Buffer.from('020000000001', 'hex'), ip: '10.55.0.1' };
const PI = { mac: Buffer.from('2ccf67000001', 'hex'), ip: '10.55.0.77' };

/** Socket 2 is open on port 69; `sent` are the parsed frames on the wire. */
function chip({ mode = 0x02, gateway = '0.0.0.0' } = {}) {
    const time = new VirtualTime();
    const chip = new W5500(time);
    const sent = [];
    chip.onFrame = (frame) => sent.push(parse(frame));
    write(chip, COMMON, 0x01, [...ip(gateway), 255, 255, 255, 0, ...OURS.mac, ...ip(OURS.ip)]);
    write(chip, COMMON, 0x18, [0xff]); // SIMR
    write(chip, REGISTERS, 0x00, [mode]);
    write(chip, REGISTERS, 0x04, [0, 69]);
    write(chip, REGISTERS, 0x01, [0x01]);
    assert.deepEqual(read(chip, REGISTERS, 0x03, 1), [0x22]);
    return { chip, time, sent };
}

function transaction(chip, block, address, isWrite, bytes) {
    chip.select(true);
    for (const byte of [address >> 8, address & 0xff, (block << 3) | (isWrite ? 4 : 0)]) chip.exchange(byte);
    const answer = bytes.map((byte) => chip.exchange(byte));
    chip.select(false);
    return answer;
}

const write = (chip, block, address, bytes) => transaction(chip, block, address, true, bytes);
const read = (chip, block, address, count) => transaction(chip, block, address, false, Array(count).fill(0));
const word = ([high, low]) => (high << 8) | low;
const interrupts = (chip) => read(chip, REGISTERS, 0x02, 1)[0];
const free = (chip) => word(read(chip, REGISTERS, 0x20, 2));

function send(chip, to, text, command = 0x20) {
    write(chip, REGISTERS, 0x0c, [...ip(to), 0, 77]);
    const at = word(read(chip, REGISTERS, 0x24, 2));
    write(chip, TX, at, [...Buffer.from(text)]);
    write(chip, REGISTERS, 0x24, [(at + text.length) >> 8, (at + text.length) & 0xff]);
    write(chip, REGISTERS, 0x01, [command]);
}

const datagram = ({ to = OURS.mac, toIp = OURS.ip, port = 69, text = 'hello' } = {}) =>
    ethernet(to, PI.mac, 0x0800, udp(PI.ip, 1069, toIp, port, Buffer.from(text)));
const answer = (target) => ethernet(OURS.mac, PI.mac, 0x0806, arp(2, PI.mac, target, OURS.mac, OURS.ip));

/** Runs the model's clock up to that time. */
function until(time, nanos) {
    while (time.queue[0]?.nanos <= nanos) {
        const { nanos: at, callback } = time.queue.shift();
        time.now = Math.max(time.now, at);
        callback();
    }
    time.now = nanos;
}

test('the chip asks for the address of a peer once, and then sends', () => {
    const { chip: it, time, sent } = chip();
    send(it, PI.ip, 'one');
    until(time, 1e6);
    assert.equal(sent.length, 1);
    assert.deepEqual([sent[0].arp.operation, sent[0].arp.toIp, sent[0].to.equals(BROADCAST)], [1, PI.ip, true]);
    assert.equal(interrupts(it) & 0x18, 0, 'neither SENDOK nor TIMEOUT yet');
    assert.equal(free(it), 2045);
    it.receive(answer(PI.ip));
    until(time, 2e6);
    assert.equal(sent[1].udp.payload.toString(), 'one');
    assert.deepEqual([sent[1].udp.fromIp, sent[1].udp.fromPort, sent[1].udp.toPort], [OURS.ip, 69, 77]);
    assert.ok(sent[1].to.equals(PI.mac));
    assert.equal(interrupts(it) & 0x18, 0x10);
    assert.equal(free(it), 2048);
    send(it, PI.ip, 'two');
    until(time, 3e6);
    assert.deepEqual([sent.length, sent[2].udp.payload.toString()], [3, 'two']);
    assert.equal(it.counts.misused, 0);
});

test('without an answer the chip asks RCR times more, then TIMEOUT; the room comes back when the socket is opened', () => {
    const { chip: it, time, sent } = chip();
    write(it, COMMON, 0x19, [0, 100, 2]); // 10 ms, twice more
    send(it, PI.ip, 'lost');
    until(time, 29e6);
    assert.equal(interrupts(it) & 0x08, 0);
    until(time, 31e6);
    assert.equal(interrupts(it) & 0x18, 0x08);
    assert.equal(it.interruptLevel, false);
    assert.equal(sent.length, 3);
    assert.equal(free(it), 2044);
    write(it, REGISTERS, 0x01, [0x10]);
    write(it, REGISTERS, 0x01, [0x01]);
    assert.equal(free(it), 2048);
});

test('another network is reached by the gateway, a broadcast and SEND_MAC without ARP', () => {
    const { chip: it, time, sent } = chip({ gateway: '10.55.0.254' });
    send(it, '192.168.1.9', 'far');
    until(time, 1e6);
    assert.equal(sent[0].arp.toIp, '10.55.0.254');
    it.receive(answer('10.55.0.254'));
    until(time, 2e6);
    assert.equal(sent[1].udp.toIp, '192.168.1.9');
    send(it, '255.255.255.255', 'all');
    until(time, 3e6);
    assert.ok(sent[2].to.equals(BROADCAST));
    write(it, REGISTERS, 0x06, [...PI.mac]);
    send(it, '10.55.0.78', 'direct', 0x21);
    until(time, 4e6);
    assert.ok(sent[3].to.equals(PI.mac));
    assert.equal(sent.length, 4);
});

test('in front of a datagram stand its sender and its length', () => {
    const { chip: it } = chip();
    assert.ok(it.receive(datagram()));
    assert.equal(it.interruptLevel, false);
    assert.deepEqual(read(it, COMMON, 0x17, 1), [4]);
    assert.equal(word(read(it, REGISTERS, 0x26, 2)), 13);
    const head = [...ip(PI.ip), 1069 >> 8, 1069 & 0xff, 0, 5];
    assert.deepEqual(read(it, RX, 0, 13), [...head, ...Buffer.from('hello')]);
    write(it, REGISTERS, 0x02, [0x04]);
    write(it, REGISTERS, 0x28, [0, 13]);
    write(it, REGISTERS, 0x01, [0x40]);
    assert.equal(it.interruptLevel, true);
});

test('what is not for the socket stays out of its buffer', () => {
    const { chip: it, time } = chip({ mode: 0x42 });
    const multicast = datagram({ to: Buffer.from('01005e0000fb', 'hex'), toIp: '224.0.0.251' });
    const broadcast = datagram({ to: BROADCAST, toIp: '255.255.255.255' });
    const fragment = datagram();
    fragment[20] = 0x20;
    const wrong = datagram();
    wrong[wrong.length - 19] ^= 1;
    for (const frame of [multicast, broadcast, fragment, wrong, datagram({ port: 70 }), datagram({ toIp: '10.55.0.2' }), Buffer.alloc(20, 0xff)]) {
        assert.equal(it.receive(frame), false);
    }
    assert.equal(it.interruptLevel, true);
    write(it, REGISTERS, 0x01, [0x10]);
    write(it, REGISTERS, 0x00, [0x02]);
    write(it, REGISTERS, 0x01, [0x01]);
    assert.ok(it.receive(broadcast), 'broadcast is blocked by Sn_MR alone');
    until(time, 1e6);
});

test('ping and ARP are answered by the chip', () => {
    const { chip: it, time, sent } = chip();
    it.receive(ethernet(OURS.mac, PI.mac, 0x0800, echoRequest(PI.ip, OURS.ip, Buffer.from('\0\x01\0\x02ping'))));
    it.receive(ethernet(BROADCAST, PI.mac, 0x0806, arp(1, PI.mac, PI.ip, Buffer.alloc(6), OURS.ip)));
    until(time, 1e6);
    assert.deepEqual([sent[0].echo.reply, sent[0].echo.body.toString()], [true, '\0\x01\0\x02ping']);
    assert.deepEqual([sent[1].arp.operation, sent[1].arp.fromIp], [2, OURS.ip]);
});

test('another host with the chip’s address is a conflict', () => {
    const { chip: it } = chip();
    it.receive(ethernet(BROADCAST, PI.mac, 0x0806, arp(1, PI.mac, OURS.ip, Buffer.alloc(6), OURS.ip)));
    assert.equal(read(it, COMMON, 0x15, 1)[0] & 0x80, 0x80);
});

test('a lost interrupt leaves RX_RSR, and without a link SEND never ends', () => {
    const { chip: it, time, sent } = chip();
    it.losesInterrupt = () => true;
    it.receive(datagram());
    assert.equal(it.interruptLevel, true);
    assert.equal(word(read(it, REGISTERS, 0x26, 2)), 13);
    it.link = false;
    send(it, '255.255.255.255', 'gone');
    it.link = true;
    until(time, 1e9);
    assert.equal(sent.length, 0);
    assert.equal(interrupts(it) & 0x18, 0);
});
