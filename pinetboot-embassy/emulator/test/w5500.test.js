import assert from 'node:assert/strict';
import { test } from 'node:test';
import { W5500, wireTime } from '../src/w5500.js';
import { VirtualTime } from './virtual-time.js';

const COMMON = 0;
const SOCKET = 1;
const TX = 2;
const RX = 3;
const mac = [2, 0, 0, 0, 0, 1];

function chip({ kilobytes = 16 } = {}) {
    const time = new VirtualTime();
    const chip = new W5500(time);
    chip.levels = [];
    chip.onInterrupt = (level) => chip.levels.push(level);
    write(chip, COMMON, 0x09, mac);
    write(chip, COMMON, 0x18, [1]); // SIMR
    write(chip, SOCKET, 0x2c, [0x04]); // IMR: RECV
    for (let other = 1; other < 8; other++) write(chip, other * 4 + SOCKET, 0x1e, [0, 0]);
    write(chip, SOCKET, 0x1e, [kilobytes, kilobytes]);
    write(chip, SOCKET, 0x00, [0x84]); // MACRAW, filtered
    write(chip, SOCKET, 0x01, [0x01]); // OPEN
    return { chip, time };
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

function frame(length, to = mac) {
    return Uint8Array.from({ length }, (_, index) => to[index] ?? index & 0xff);
}

/** As a driver takes a frame out. */
function take(chip) {
    write(chip, SOCKET, 0x02, [0x04]);
    const pointer = word(read(chip, SOCKET, 0x28, 2));
    const length = word(read(chip, RX, pointer, 2));
    const bytes = read(chip, RX, pointer + 2, length - 2);
    const next = (pointer + length) & 0xffff;
    write(chip, SOCKET, 0x28, [next >> 8, next & 0xff]);
    write(chip, SOCKET, 0x01, [0x40]);
    return Uint8Array.from(bytes);
}

function put(chip, bytes) {
    const pointer = word(read(chip, SOCKET, 0x24, 2));
    write(chip, TX, pointer, [...bytes]);
    const next = (pointer + bytes.length) & 0xffff;
    write(chip, SOCKET, 0x24, [next >> 8, next & 0xff]);
    write(chip, SOCKET, 0x01, [0x20]);
}

test('it is a W5500 and says so, with a link at 100 Mbit/s', () => {
    const { chip: it } = chip();
    assert.deepEqual(read(it, COMMON, 0x39, 1), [4]);
    assert.equal(read(it, COMMON, 0x2e, 1)[0] & 0b111, 0b111);
    it.link = false;
    assert.equal(read(it, COMMON, 0x2e, 1)[0] & 1, 0);
    assert.deepEqual(read(it, SOCKET, 0x03, 1), [0x42]);
});

test('a frame comes with its length in front, and pulls the interrupt pin until taken', () => {
    const { chip: it } = chip();
    assert.equal(it.interruptLevel, true);
    assert.ok(it.receive(frame(60)));
    assert.equal(it.interruptLevel, false);
    assert.equal(word(read(it, SOCKET, 0x26, 2)), 62);
    assert.deepEqual(take(it), frame(60));
    assert.equal(word(read(it, SOCKET, 0x26, 2)), 0);
    assert.deepEqual(it.levels, [false, true]);
});

test('RECV says so again while more frames are there', () => {
    const { chip: it } = chip();
    it.receive(frame(60));
    it.receive(frame(100));
    take(it);
    assert.equal(it.interruptLevel, false);
    assert.deepEqual(take(it), frame(100));
    assert.equal(it.interruptLevel, true);
});

test('both buffers wrap, at their size and at 64 KB', () => {
    const { chip: it, time } = chip({ kilobytes: 4 });
    const sent = [];
    it.onFrame = (bytes) => sent.push(bytes);
    for (let count = 0; count < 100; count++) {
        const bytes = frame(1000 + count);
        assert.ok(it.receive(bytes), `frame ${count}`);
        assert.deepEqual(take(it), bytes);
        put(it, bytes);
        time.run();
        assert.deepEqual(sent.pop(), bytes);
    }
});

test('a full buffer drops frames, and goes on once it has room', () => {
    const { chip: it } = chip({ kilobytes: 2 });
    assert.ok(it.receive(frame(1500)));
    assert.equal(it.receive(frame(600)), false);
    assert.equal(it.counts.full, 1);
    assert.ok(it.receive(frame(500)));
    assert.equal(take(it).length, 1500);
    assert.equal(take(it).length, 500);
});

test('the filter passes broadcast, multicast and its own address', () => {
    const { chip: it } = chip();
    assert.ok(it.receive(frame(60, [255, 255, 255, 255, 255, 255])));
    assert.ok(it.receive(frame(60, [1, 0, 0x5e, 0, 0, 1])));
    assert.equal(it.receive(frame(60, [2, 0, 0, 0, 0, 2])), false);
});

test('sending takes its time on the wire, and room is free only then', () => {
    const { chip: it, time } = chip({ kilobytes: 2 });
    let out = null;
    it.onFrame = () => (out = time.now);
    put(it, frame(1514));
    assert.equal(word(read(it, SOCKET, 0x20, 2)), 2048 - 1514);
    time.run();
    assert.equal(out, wireTime(1514));
    assert.equal(out, 123_040);
    assert.equal(word(read(it, SOCKET, 0x20, 2)), 2048);
});

test('without a link SEND never ends, until the socket is opened anew', () => {
    const { chip: it, time } = chip();
    it.onFrame = () => assert.fail('sent without a link');
    const free = () => word(read(it, SOCKET, 0x20, 2));
    it.link = false;
    put(it, frame(60));
    time.run();
    it.link = true;
    put(it, frame(60));
    time.run();
    assert.equal(free(), 16 * 1024 - 120);
    write(it, SOCKET, 0x01, [0x10]);
    write(it, SOCKET, 0x01, [0x01]);
    assert.equal(free(), 16 * 1024);
    const sent = [];
    it.onFrame = (bytes) => sent.push(bytes);
    put(it, frame(60));
    time.run();
    assert.equal(sent.length, 1);
});

test('the PHY negotiates after a reset and when the cable comes back', () => {
    const time = new VirtualTime();
    const it = new W5500(time, { negotiation: 2e9 });
    const isUp = () => read(it, COMMON, 0x2e, 1)[0] & 1;
    assert.equal(isUp(), 0);
    time.now = 2e9;
    assert.equal(isUp(), 1);
    it.link = false;
    assert.equal(isUp(), 0);
    it.link = true;
    assert.equal(isUp(), 0);
    time.now = 4e9;
    assert.equal(isUp(), 1);
});

test('an interrupt can be lost, and RX_RSR counts the frame all the same', () => {
    const { chip: it } = chip();
    it.losesInterrupt = () => true;
    it.receive(frame(60));
    assert.equal(it.interruptLevel, true);
    assert.equal(word(read(it, SOCKET, 0x26, 2)), 62);
});

test('MMB and MIP6B drop multicast and IPv6, and no broadcast', () => {
    const { chip: it } = chip();
    write(it, SOCKET, 0x00, [0xb4]);
    assert.equal(it.receive(frame(60, [1, 0, 0x5e, 0, 0, 1])), false);
    assert.equal(it.receive(frame(60, [...mac, 0, 0, 0, 0, 0, 0, 0x86, 0xdd])), false);
    assert.ok(it.receive(frame(60, [255, 255, 255, 255, 255, 255])));
});

test('a reset, by pin or register, forgets everything', () => {
    for (const reset of [(it) => (it.resetPin(false), it.resetPin(true)), (it) => write(it, COMMON, 0, [0x80])]) {
        const { chip: it, time } = chip();
        it.onFrame = () => assert.fail('sent after the reset');
        put(it, frame(60));
        it.receive(frame(60));
        reset(it);
        time.run();
        assert.equal(it.interruptLevel, true);
        assert.deepEqual(read(it, SOCKET, 0x03, 1), [0]);
        assert.equal(it.receive(frame(60)), false);
    }
});

test('a nonsense length is for one frame only', () => {
    const { chip: it } = chip();
    it.nextLength = 0xffff;
    it.receive(frame(60));
    assert.equal(word(read(it, RX, 0, 2)), 0xffff);
    it.receive(frame(60));
    assert.equal(word(read(it, RX, 62, 2)), 62);
});
