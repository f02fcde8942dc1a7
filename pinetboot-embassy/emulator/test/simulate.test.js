// The real `pinetboot simulate --interface` against the emulated board, through a TAP device. In a private network namespace,
// which `.ci/run` makes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceTree } from './device-tree.js';
import { Program } from './outside.js';
import { PINETBOOT, PLACES, switchOn } from './rig.js';

const FILES = {
    'config.txt': 'arm_64bit=1\n',
    'cmdline.txt': 'console=serial0,115200\n',
    'kernel_2712.img': 200_000,
    'bcm2712-rpi-5-b.dtb': deviceTree('raspberrypi,5-model-b\0brcm,bcm2712'),
    'overlays/overlay_map.dtb': 1_000,
};
const elsewhere = process.env.PINETBOOT_NAMESPACE ? false : 'not in a private network namespace: see .ci/run';

for (const { place, skip, put } of PLACES) {
    test(`pinetboot simulate boots a Pi 5 from ${place}, DHCP and all`, { skip: skip || elsewhere }, async (t) => {
        const port = await switchOn(t, put(t, FILES));
        const tap = 'TUN:10.55.0.2/24,tun-type=tap,tun-name=tap0,iff-no-pi,iff-up';
        const socat = new Program(t, 'socat', ['-d', '-d', tap, `UDP4:127.0.0.1:${port}`]);
        await socat.expect('starting data transfer loop');

        const simulate = new Program(t, PINETBOOT, ['simulate', '--interface', 'tap0', '--model', 'pi5']);
        const code = await simulate.ended;
        t.diagnostic(simulate.said);
        assert.equal(code, 0, simulate.said);
    });
}
