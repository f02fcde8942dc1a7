import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlashCache } from '../src/flash-cache.js';

const MISS = 28 * 4; // clocks of a line, each four of the system's

function cache() {
    const [flash, sram] = [Uint8Array.from({ length: 1 << 16 }, (_, at) => at ^ (at >> 8)), new Uint8Array(8)];
    const [flashView, sramView] = [flash, sram].map(({ buffer }) => new DataView(buffer));
    const elsewhere = () => 7;
    const chip = { flash, flashView, sram, sramView, readUint8: elsewhere, readUint16: elsewhere, readUint32: elsewhere };
    chip.peripherals = { 0x18000: { baudr: 4 } };
    const it = new FlashCache(chip);
    const cost = (address, width = 32) => (chip[`readUint${width}`](address), it.waited());
    return { chip, cost };
}

test('a line is waited for once, for any read of it', () => {
    const { chip, cost } = cache();
    assert.deepEqual([cost(0x10000100), cost(0x10000104), cost(0x10000106, 16), cost(0x10000107, 8)], [MISS, 0, 0, 0]);
    assert.equal(cost(0x10000108), MISS);
    assert.deepEqual([chip.readUint32(0x10000104), chip.readUint16(0x10000106), chip.readUint8(0x10000107)], [0x06070405, 0x0607, 0x06]);
});

test('of lines that fall together two stay, the ones that were used last', () => {
    const { cost } = cache();
    const [a, b, c] = [0x10000000, 0x10002000, 0x10004000];
    assert.deepEqual([cost(a), cost(b), cost(a), cost(c)], [MISS, MISS, 0, MISS]);
    assert.deepEqual([cost(a), cost(c), cost(b)], [0, 0, MISS]);
});

test('it holds 16 KB', () => {
    const { cost } = cache();
    const all = () => Array.from({ length: 2048 }, (_, line) => cost(0x10008000 + line * 8)).reduce((sum, next) => sum + next);
    assert.equal(all(), 2048 * MISS);
    assert.equal(all(), 0);
});

test('RAM and ROM do not go through it', () => {
    const { chip, cost } = cache();
    assert.deepEqual([cost(0x20000000), cost(0x2000), cost(0x50000000)], [0, 0, 0]);
    chip.sram[3] = 0x12;
    assert.deepEqual([chip.readUint32(0x20000000), chip.readUint32(0x20000008), chip.readUint32(0x2000)], [0x12000000, 7, 7]);
});
