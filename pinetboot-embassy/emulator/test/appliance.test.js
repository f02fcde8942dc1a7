// The firmware, unmodified, on an emulated board, with a Pi 5 on its cable: in virtual time, so every run is the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BROADCAST, echoRequest, ethernet, udp } from '../src/packets.js';
import { Transfer } from '../src/pi.js';
import { PLACES, chance, missing, pack, plugIn } from './rig.js';

const BOOT = {
    'config.txt': 'arm_64bit=1\n',
    'cmdline.txt': 'console=serial0,115200\n',
    'bcm2712-rpi-5-b.dtb': 78_744,
    'overlays/overlay_map.dtb': 5_971,
    'kernel_2712.img': 300_000,
};

for (const { place, skip, put } of PLACES) {
    test(`a Pi gets an address with all that it needs, and its files from ${place}`, { skip }, (t) => {
        const parts = put(t, BOOT);
        const { read } = parts.archive ?? parts.card;
        const { pi, ack, server } = plugIn(parts);
        assert.match(ack.address, /^10\.55\.0\./);
        assert.equal(ack.options.get(66).toString(), server);
        assert.equal(ack.options.get(60).toString(), 'PXEClient');
        assert.match(ack.options.get(43).toString('latin1'), /Raspberry Pi Boot/);

        // A Pi 5's own order (captured; some names left out).
        assert.equal(pi.probe(server, 'bd989ae1/config.txt'), 12);
        for (const name of ['config.txt', '/config.txt', '/overlays/overlay_map.dtb', 'cmdline.txt', 'bcm2712-rpi-5-b.dtb']) {
            const got = pi.fetch(server, `bd989ae1/${name}`);
            assert.equal(got.outcome, 'complete', name);
            assert.ok(got.bytes.equals(read(name)), name);
        }
        for (const name of ['pieeprom.sig', 'armstub8-2712.bin', 'none/config.txt']) {
            assert.equal(pi.fetch(server, `bd989ae1/${name}`).outcome.code, 1, name);
        }
        assert.equal(pi.probe(server, 'bd989ae1/kernel_2712.img'), 300_000);
        for (const blksize of [512, 1024, 1468]) {
            const got = pi.fetch(server, 'bd989ae1/kernel_2712.img', { blksize });
            assert.equal(got.outcome, 'complete');
            assert.equal(got.blksize, blksize);
            assert.ok(got.bytes.equals(read('kernel_2712.img')), `blksize ${blksize}`);
            assert.equal(got.duplicates, 0);
        }
    });
}

test('frames are lost on the cable, both ways, and the file comes all the same', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { cable, pi, server } = plugIn({ archive });
    const lost = { to: 0, from: 0 };
    const draw = chance(7);
    cable.loses = (way) => draw(0.02) && ++lost[way] > 0;
    const got = pi.fetch(server, 'bd989ae1/kernel_2712.img', { seconds: 60 });
    assert.equal(got.outcome, 'complete');
    assert.ok(got.bytes.equals(archive.read('kernel_2712.img')));
    assert.ok(lost.to > 3 && lost.from > 3, `lost too little to mean anything: ${JSON.stringify(lost)}`);
});

test('one interrupt in ten is lost, and no block is sent twice', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { chip, pi, server } = plugIn({ archive });
    const draw = chance(11);
    let lost = 0;
    chip.losesInterrupt = () => draw(0.1) && ++lost > 0;
    const got = pi.fetch(server, 'bd989ae1/bcm2712-rpi-5-b.dtb');
    assert.equal(got.outcome, 'complete');
    assert.ok(got.bytes.equals(archive.read('bcm2712-rpi-5-b.dtb')));
    assert.equal(got.duplicates, 0);
    assert.ok(lost > 3, `${lost} lost`);
});

test('floods to the listening ports, from a host that answers no ARP, stop no transfer', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { board, pi, chip, server } = plugIn({ archive });
    const ghost = Buffer.from('020000000099', 'hex');
    const junk = (port, text) => udp('10.55.0.99', 2000, server, port, Buffer.from(text));
    const flood = [
        ethernet(BROADCAST, ghost, 0x0800, udp('10.55.0.99', 68, '255.255.255.255', 67, Buffer.alloc(1000))),
        ethernet(chip.ip.mac, ghost, 0x0800, junk(69, '\0\x01no-such-file\0octet\0')),
        ethernet(chip.ip.mac, ghost, 0x0800, junk(69, 'x'.repeat(600))),
    ];
    const got = pi.fetch(server, 'bd989ae1/kernel_2712.img', {
        seconds: 60,
        onBlock: ({ expected }) => expected % 100 === 0 && Array.from({ length: 40 }, (_, at) => pi.transmit(flood[at % 3])),
    });
    assert.equal(got.outcome, 'complete');
    assert.ok(got.bytes.equals(archive.read('kernel_2712.img')));
    assert.equal(got.duplicates, 0);
    assert.ok(chip.counts.full > 5, `the buffers were never full: ${JSON.stringify(chip.counts)}`);
    // The chip asks for the host for longer than the transfer takes.
    assert.ok(board.run(board.now + 1e9, () => chip.counts.unresolved > 0), 'nothing was sent to the host without ARP');
    assert.equal(chip.counts.misused, 0);
    assert.equal(pi.probe(server, 'bd989ae1/config.txt'), 12, 'port 69 answers');
});

test('noise of a network costs the board no transfer on its bus', { skip: missing }, (t) => {
    const { board, chip, pi, server } = plugIn({ archive: pack(t, BOOT) });
    const other = Buffer.from('020000000098', 'hex');
    const [ssdp, mdns] = ['01005e7ffffa', '01005e0000fb'].map((mac) => Buffer.from(mac, 'hex'));
    const idle = () => {
        const before = board.buses[0].transactions;
        board.run(board.now + 100e6);
        return board.buses[0].transactions - before;
    };
    const quiet = idle();
    for (let count = 0; count < 50; count++) {
        pi.transmit(ethernet(ssdp, other, 0x0800, udp('10.55.0.98', 1900, '239.255.255.250', 1900, Buffer.alloc(200))));
        pi.transmit(ethernet(BROADCAST, other, 0x0800, udp('10.55.0.98', 137, '10.55.0.255', 137, Buffer.alloc(50))));
        pi.transmit(ethernet(BROADCAST, other, 0x86dd, Buffer.alloc(80)));
        pi.transmit(ethernet(chip.ip.mac, other, 0x0800, echoRequest('10.55.0.98', server, Buffer.alloc(36))));
    }
    assert.ok(idle() <= quiet + 5, `${quiet} transfers in 0.1 s without noise`);
    // The group of the board's name is heard: one datagram every 20 ms.
    for (let count = 0; count < 200; count++) {
        pi.transmit(ethernet(mdns, other, 0x0800, udp('10.55.0.98', 5353, '224.0.0.251', 5353, Buffer.alloc(200))));
    }
    const busy = idle();
    assert.ok(busy > quiet + 5 && busy <= quiet + 5 * 10 + 5, `${quiet} transfers without noise, ${busy} with it`);
});

test('the cable is pulled in the middle of a file, and plugged in again', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { board, chip, pi, server } = plugIn({ archive });
    const pulls = [100, 200];
    const got = pi.fetch(server, 'bd989ae1/kernel_2712.img', {
        seconds: 60,
        onBlock: ({ expected }) => {
            if (expected !== pulls[0]) return;
            // The chip gets the order to send the next block before it knows.
            pulls.shift();
            board.at(board.now + (pulls.length > 0 ? 0 : 50_000), () => (chip.link = false));
            board.at(board.now + 3e9, () => (chip.link = true));
        },
    });
    assert.equal(got.outcome, 'complete');
    assert.ok(got.bytes.equals(archive.read('kernel_2712.img')));
    assert.deepEqual(pulls, []);
    assert.equal(board.resets, 0);
    t.diagnostic(`two pulls of 3 s and 2 s of negotiation each: ${(got.nanos / 1e9).toFixed(1)} s, ${got.duplicates} blocks twice`);
    assert.ok(got.nanos < 16e9);
});

test('a bus that hangs is ended by the watchdog, and the board serves again', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { board, pi, server } = plugIn({ archive });
    board.buses[0].hangs = true; // the firmware waits for the end of a byte without end
    const began = board.now;
    assert.equal(pi.fetch(server, 'bd989ae1/config.txt', { seconds: 0.1 }).outcome, 'given up');
    board.skip(7.5e9); // the emulator would take a minute to compute this
    const served = pi.fetch(server, 'bd989ae1/config.txt', { seconds: 20 }).outcome === 'complete';
    assert.ok(served, `not within ${(board.now - began) / 1e9} s; ${board.resets} resets`);
    assert.equal(board.resets, 1);
    t.diagnostic(`served after ${((board.now - began) / 1e9).toFixed(1)} s`);
});

test('a bus that hangs in a long transfer is noticed too, though the loops turn', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { board, chip, pi, server } = plugIn({ archive });
    const [bus] = board.buses;
    let [frame, began] = [null, 0];
    const isLong = () => {
        if (chip.frame !== frame) [frame, began] = [chip.frame, bus.bytes];
        return frame !== null && bus.bytes - began > 300;
    };
    new Transfer(pi, server, 'bd989ae1/kernel_2712.img');
    assert.ok(board.run(board.now + 1e9, isLong), 'there was no long transfer');
    bus.hangs = true;
    const hung = board.now;
    // Loops that wait for the bus compute all the time. A fifth of it is enough for each to turn, and to feed the watchdog if it would.
    while (board.resets === 0 && board.now < hung + 20e9) {
        board.run(board.now + 0.2e9, () => board.resets > 0);
        if (board.resets === 0) board.skip(0.8e9);
    }
    assert.equal(board.resets, 1);
    assert.ok(board.now - hung > 8e9, 'the watchdog was not fed while the loops were alive');
    t.diagnostic(`restarted after ${((board.now - hung) / 1e9).toFixed(1)} s`);
    assert.equal(pi.fetch(server, 'bd989ae1/config.txt', { seconds: 20 }).outcome, 'complete');
});

for (const length of [0xffff, 0, 1517]) {
    test(`the chip reports a frame of ${length} bytes: within seconds the board serves again`, { skip: missing }, (t) => {
        const archive = pack(t, BOOT);
        const { board, chip, pi, server } = plugIn({ archive });
        chip.nextLength = length;
        const before = board.now;
        pi.fetch(server, 'bd989ae1/config.txt', { seconds: 0.1 }); // the frame with that length
        let served = false;
        while (!served && board.now < before + 20e9) {
            served = pi.fetch(server, 'bd989ae1/config.txt', { seconds: 3 }).outcome === 'complete';
        }
        assert.ok(served, `not within ${(board.now - before) / 1e9} s; ${board.resets} resets`);
        t.diagnostic(`served after ${((board.now - before) / 1e9).toFixed(1)} s, ${board.resets} resets by the watchdog`);
        const got = pi.fetch(server, 'bd989ae1/kernel_2712.img');
        assert.ok(got.bytes.equals(archive.read('kernel_2712.img')));
    });
}
