// The real `pinetboot simulate --interface` against the emulated board, through a TAP device. In a network namespace of its
// own, which `.ci/run` makes.

import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { bench } from '../src/bench.js';
import { bridge } from '../src/bridge.js';
import { live } from '../src/live.js';
import { deviceTree } from './device-tree.js';
import { Program } from './outside.js';
import { BOOTROM, FIRMWARE, PINETBOOT, missing, pack } from './rig.js';

const skip = missing || (process.env.PINETBOOT_NAMESPACE ? false : 'not in a network namespace of its own: see .ci/run');

test('pinetboot simulate boots a Pi 5 from it, DHCP and all', { skip }, async (t) => {
    const archive = pack(t, {
        'config.txt': 'arm_64bit=1\n',
        'cmdline.txt': 'console=serial0,115200\n',
        'kernel_2712.img': 200_000,
        'bcm2712-rpi-5-b.dtb': deviceTree('raspberrypi,5-model-b\0brcm,bcm2712'),
        'overlays/overlay_map.dtb': 1_000,
    });
    const { board, chip } = bench({ firmware: FIRMWARE, bootrom: BOOTROM, archive: archive.uf2 });
    const socket = await bridge(chip);
    const stop = new AbortController();
    const running = live(board, socket, stop.signal);
    t.after(async () => {
        stop.abort();
        await running;
        socket.close();
    });
    const { port } = socket.address();
    const tap = 'TUN:10.55.0.2/24,tun-type=tap,tun-name=tap0,iff-no-pi,iff-up';
    new Program(t, 'socat', [tap, `UDP4:127.0.0.1:${port}`]);
    while (!networkInterfaces().tap0) await new Promise((resolve) => setTimeout(resolve, 20));

    const simulate = new Program(t, PINETBOOT, ['simulate', '--interface', 'tap0', '--model', 'pi5']);
    const code = await simulate.ended;
    t.diagnostic(simulate.said);
    assert.equal(code, 0, simulate.said);
});
