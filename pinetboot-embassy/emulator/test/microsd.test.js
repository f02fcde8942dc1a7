import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MicroSd, crc16, crc7 } from '../src/microsd.js';
import { VirtualTime } from './virtual-time.js';

/** A host whose clock gives each byte 320 ns: 25 MHz. */
class Host {
    constructor(kind) {
        this.time = new VirtualTime();
        this.bytes = Uint8Array.from({ length: 1 << 20 }, (_, index) => (index >> 9) ^ index);
        const image = {
            length: this.bytes.length,
            read: (offset, length) => this.bytes.subarray(offset, offset + length),
            write: (offset, bytes) => this.bytes.set(bytes, offset),
        };
        this.card = new MicroSd(this.time, image, kind);
    }

    /** The clocks that a card needs before its first command, and its selection. */
    clocks(bytes = 10) {
        this.card.select(false);
        for (let count = 0; count < bytes; count++) this.card.idleByte();
        this.card.select(true);
    }

    byte(out = 0xff) {
        this.time.now += 320;
        return this.card.exchange(out);
    }

    command(code, argument = 0, { crc } = {}) {
        const bytes = [0x40 | code, argument >>> 24, (argument >> 16) & 0xff, (argument >> 8) & 0xff, argument & 0xff];
        for (const byte of [...bytes, crc ?? (crc7(bytes) << 1) | 1]) this.byte(byte);
        if (code === 12) this.byte();
        return this.waitFor((byte) => (byte & 0x80) === 0);
    }

    waitFor(is, limit = 5000) {
        for (let count = 0; count < limit; count++) {
            const byte = this.byte();
            if (is(byte)) return byte;
        }
        return null;
    }

    data(length = 512) {
        const token = this.waitFor((byte) => byte !== 0xff);
        assert.equal(token, 0xfe);
        const bytes = Uint8Array.from({ length }, () => this.byte());
        assert.equal((this.byte() << 8) | this.byte(), crc16(bytes));
        return bytes;
    }

    initialise() {
        this.clocks();
        assert.equal(this.command(0), 1);
        assert.equal(this.command(59, 1), 1);
        assert.equal(this.command(8, 0x1aa), 1);
        assert.deepEqual([this.byte(), this.byte(), this.byte(), this.byte()], [0, 0, 1, 0xaa]);
        do assert.ok(this.command(55) <= 1);
        while (this.command(41, 0x40000000) !== 0);
        assert.equal(this.command(58), 0);
        assert.equal(this.byte() & 0xc0, 0xc0);
        for (let count = 0; count < 3; count++) this.byte();
        return this;
    }

    block(index) {
        return this.bytes.subarray(index * 512, (index + 1) * 512);
    }
}

test('the checksums are the specification’s', () => {
    assert.equal((crc7([0x40, 0, 0, 0, 0]) << 1) | 1, 0x95); // CMD0, known to everyone
    assert.equal((crc7([0x48, 0, 0, 1, 0xaa]) << 1) | 1, 0x87);
    assert.equal(crc16(new Uint8Array(512).fill(0xff)), 0x7fa1);
});

test('it reads blocks one by one and in a row, after its latency', () => {
    const host = new Host().initialise();
    assert.equal(host.command(17, 7), 0);
    const asked = host.time.now;
    assert.deepEqual(host.data(), host.block(7));
    assert.ok(host.time.now - asked > 300_000);

    assert.equal(host.command(18, 100), 0);
    for (let index = 100; index < 110; index++) assert.deepEqual(host.data(), host.block(index));
    assert.equal(host.command(12), 0);
    host.waitFor((byte) => byte === 0xff);
    assert.equal(host.command(17, 1), 0);
    assert.deepEqual(host.data(), host.block(1));
});

test('a transaction in which the select line rises is lost', () => {
    const host = new Host().initialise();
    const released = () => (host.card.select(false), host.card.select(true));
    const part = Uint8Array.of(0x40 | 17, 0, 0);
    for (const byte of part) host.byte(byte);
    released();
    for (const byte of [0, 7, (crc7([...part, 0, 7]) << 1) | 1]) host.byte(byte);
    assert.equal(host.waitFor((byte) => byte !== 0xff, 100), null);

    assert.equal(host.command(17, 7), 0);
    released();
    assert.equal(host.waitFor((byte) => byte !== 0xff), null);

    assert.equal(host.command(18, 7), 0);
    host.data();
    assert.equal(host.command(12), 0);
    assert.equal(host.card.counts.aborted, 2);
    released(); // busy, and may be left
    assert.equal(host.card.counts.aborted, 2);
    assert.equal(host.command(17, 7), 0);
    assert.deepEqual(host.data(), host.block(7));
});

test('without 74 clocks before it, the first command is not heard', () => {
    const host = new Host();
    host.clocks(9);
    assert.equal(host.command(0), null);
    host.clocks(1);
    assert.equal(host.command(0), 1);
});

test('an SDSC card counts in bytes', () => {
    const host = new Host({ sdsc: true });
    host.clocks();
    assert.equal(host.command(0), 1);
    do assert.ok(host.command(55) <= 1);
    while (host.command(41, 0x40000000) !== 0);
    assert.equal(host.command(58), 0);
    assert.equal(host.byte() & 0xc0, 0x80);
    for (let count = 0; count < 3; count++) host.byte();
    assert.equal(host.command(17, 7 * 512), 0);
    assert.deepEqual(host.data(), host.block(7));
    assert.equal(host.command(9), 0);
    const csd = host.data(16);
    const size = ((csd[6] & 3) << 10) | (csd[7] << 2) | (csd[8] >> 6);
    assert.equal((size + 1) * 512 * 512, host.bytes.length);
});

test('it tells its size', () => {
    const host = new Host().initialise();
    assert.equal(host.command(9), 0);
    const csd = host.data(16);
    const size = ((csd[7] & 0x3f) << 16) | (csd[8] << 8) | csd[9];
    assert.equal((size + 1) * 512 * 1024, host.bytes.length);
});

test('it refuses what is beyond its end, wrong sums, and reading before it is ready', () => {
    const host = new Host();
    host.clocks();
    assert.equal(host.command(0), 1);
    assert.equal(host.command(17, 0), 0x05);
    host.initialise();
    assert.equal(host.command(17, 1 << 20), 0x20);
    assert.equal(host.command(17, 0, { crc: 0x01 }), 0x08);
    assert.equal(host.command(63), 0x04);
    assert.equal(host.command(17, 0), 0);
    assert.deepEqual(host.data(), host.block(0));
});

test('a card that is pulled out is silent, and begins anew when put back', () => {
    const host = new Host().initialise();
    host.command(18, 0);
    host.data();
    host.card.remove();
    assert.equal(host.waitFor((byte) => byte !== 0xff), null);
    assert.equal(host.command(17, 0), null);
    host.card.insert();
    assert.notEqual(host.command(17, 0), 0);
    host.initialise();
    assert.equal(host.command(17, 3), 0);
    assert.deepEqual(host.data(), host.block(3));
});

test('it writes a block', () => {
    const host = new Host().initialise();
    assert.equal(host.command(24, 9), 0);
    const bytes = new Uint8Array(512).fill(0x42);
    const sum = crc16(bytes);
    for (const byte of [0xff, 0xfe, ...bytes, sum >> 8, sum & 0xff]) host.byte(byte);
    assert.equal(host.byte() & 0x1f, 0x05);
    host.waitFor((byte) => byte === 0xff);
    assert.deepEqual(host.block(9), bytes);
});
