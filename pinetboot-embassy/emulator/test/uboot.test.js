// U-Boot in QEMU leases an address from the emulated board, loads a real Linux kernel and an initramfs from its flash or its
// card, and starts them. Both ends of the cable are QEMU's `-netdev dgram`.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { crc32, gzipSync } from 'node:zlib';
import { initramfs } from './initramfs.js';
import { Program } from './outside.js';
import { PLACES, noise, switchOn, tree } from './rig.js';

const KERNEL = process.env.PINETBOOT_ARM64_KERNEL ?? '';
const UBOOT = '/usr/lib/u-boot/qemu_arm64/u-boot.bin';
const lacking =
    (existsSync(KERNEL) ? false : 'PINETBOOT_ARM64_KERNEL names no kernel: see .ci/run arm64-kernel') ||
    (existsSync(UBOOT) ? false : 'not installed: u-boot-qemu');

// Minutes for each place: from flash only if the environment asks for all places.
for (const { place, skip, put } of process.env.PINETBOOT_ALL_PLACES ? PLACES : PLACES.slice(-1)) {
    test(`U-Boot boots Linux from ${place}`, { skip: skip || lacking }, async (t) => {
        const kernel = gzipSync(readFileSync(KERNEL));
        const ramdisk = initramfs(tree(t, {}).root, noise(2_000_000));
        const parts = put(t, { 'kernel_2712.img': kernel, 'initramfs_2712': ramdisk }, '16M');

        const uboot = new UBoot(t, await switchOn(t, parts));
        await uboot.prompt();
        // The board gives addresses to Pis only: so U-Boot asks as a Pi, with a Pi 5's options 60 and 97.
        await uboot.run('setenv bootp_vci PXEClient:Arch:00000:UNDI:002001');
        await uboot.run('setenv pxeuuid 52506935-7041-d000-dde8-271ee19a98bd');
        await uboot.run('setenv autoload no');
        assert.match(await uboot.run('dhcp'), /DHCP client bound to address 10\.55\.0\./);
        for (const [name, address, content] of [['kernel_2712.img', '41000000', kernel], ['initramfs_2712', '60000000', ramdisk]]) {
            const began = performance.now();
            const said = await uboot.run(`tftpboot 0x${address} ${name}`);
            assert.match(said, new RegExp(`Bytes transferred = ${content.length} `));
            t.diagnostic(`${name}: ${content.length} bytes in ${((performance.now() - began) / 1000).toFixed(1)} s`);
            const sum = crc32(content).toString(16).padStart(8, '0');
            assert.match(await uboot.run(`crc32 0x${address} 0x${content.length.toString(16)}`), new RegExp(`==> ${sum}`));
        }
        await uboot.run('setenv bootargs console=ttyAMA0 rdinit=/init panic=-1');
        await uboot.run('setenv kernel_comp_addr_r 0x50000000');
        await uboot.run('setenv kernel_comp_size 0x4000000');
        uboot.say(`booti 0x41000000 0x60000000:0x${ramdisk.length.toString(16)} \${fdtcontroladdr}\n`);
        for (const line of ['Starting kernel ...', 'Booting Linux on physical CPU', 'Linux version ', 'pinetboot: init runs from the initramfs']) {
            await uboot.expect(line, 120);
        }
        assert.equal(await uboot.ended, 0);
    });
}

/** An emulated machine at U-Boot's prompt. */
class UBoot extends Program {
    constructor(t, port) {
        const remote = `remote.type=inet,remote.host=127.0.0.1,remote.port=${port}`;
        super(t, 'qemu-system-aarch64', [
            ...['-M', 'virt', '-cpu', 'cortex-a57', '-m', '768', '-nographic', '-no-reboot', '-bios', UBOOT],
            ...['-netdev', `dgram,id=n,local.type=inet,local.host=127.0.0.1,local.port=0,${remote}`],
            ...['-device', 'virtio-net-pci,netdev=n,romfile='],
        ]);
    }

    async prompt() {
        await this.expect('Hit any key to stop autoboot');
        this.say('\n');
        await this.expect(PROMPT);
    }

    /** Runs a command, and returns its output. */
    async run(command, seconds = 120) {
        this.say(`${command}\n`);
        return this.expect(PROMPT, seconds);
    }
}

const PROMPT = '\n=> ';
