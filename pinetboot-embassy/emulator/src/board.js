// A board: the RP2040 of rp2040js with both cores, its reset, and the devices on its buses.
//
// Virtual time is the chip's clock. This module never reads the wall clock: `run` goes as far as the caller says.

import { RP2040 } from 'rp2040js';
import { Bootsel } from './bootsel.js';
import { Cores } from './cores.js';
import { decodeByTable } from './decoder.js';
import { Flash } from './flash.js';
import { FlashCache } from './flash-cache.js';
import { idleFlashStream, memoryUnprotected, randomBits, readableDmaAbort } from './quirks.js';
import { SpiBus } from './spi.js';

export class Board {
    /**
     * @param {{ flash: {address: number, bytes: Uint8Array}[], bootrom: Uint32Array }} image the content of flash and ROM
     * @param {{ bus: number, select: number, device: object, reset?: number, interrupt?: number }[]} devices on SPI
     */
    constructor(image, devices, { warn = () => {} } = {}) {
        this.image = image;
        this.devices = devices;
        this.warn = warn;
        this.clock = new RP2040().clock;
        this.appointments = new Set();
        this.resets = 0;
        this.bootselHeld = false;
        this.flashJournal = []; // the firmware's changes of its flash: see flash.js
        this.powerOn();
    }

    /** Nanoseconds since power on. */
    get now() {
        return this.clock.nanos;
    }

    /** Calls `callback` at a time of the virtual clock; a reset of the chip does not undo it. */
    at(nanos, callback) {
        const alarm = this.clock.createAlarm(() => {
            this.appointments.delete(alarm);
            callback();
        });
        this.appointments.add(alarm);
        alarm.schedule(Math.max(0, nanos - this.now));
        return { cancel: () => this.appointments.delete(alarm) && alarm.cancel() };
    }

    /** Runs the board until that time, or until `done()`; returns the last value of `done()`. */
    run(until, done = () => false) {
        while (this.now < until && !done()) {
            this.cores.run(Math.min(until, this.now + SLICE));
        }
        return done();
    }

    /** Lets time pass without computing an instruction: for cores in an endless loop. */
    skip(nanos) {
        this.clock.tick(nanos);
    }

    powerOn() {
        this.chip = this.assemble();
    }

    /** The watchdog's reset: everything in the chip begins anew; the content of RAM and flash, scratch registers and the world outside stay. */
    watchdogReset(reason) {
        this.resets++;
        const scratch = this.watchdog.scratchData;
        const { sram, flash } = this.chip;
        this.clock.nextAlarm = null; // the alarms of the old chip
        for (const alarm of this.appointments) alarm.schedule(Math.max(0, alarm.nanos - this.now));
        this.chip = this.assemble();
        this.watchdog.scratchData.set(scratch);
        this.chip.sram.set(sram);
        this.chip.flash.set(flash);
        this.watchdog.reason = reason;
    }

    get watchdog() {
        return this.chip.peripherals[WATCHDOG];
    }

    assemble() {
        const chip = new RP2040(this.clock);
        decodeByTable(chip.core.constructor);
        chip.bootrom.set(this.image.bootrom); // not loadBootrom(), which erases the flash
        for (const { address, bytes } of this.image.flash) chip.flash.set(bytes, address - FLASH);
        readableDmaAbort(chip);
        randomBits(chip);
        idleFlashStream(chip);
        memoryUnprotected(chip);
        const cache = new FlashCache(chip);
        this.bootsel = new Bootsel(chip, cache, () => this.bootselHeld);
        this.cores = new Cores(chip, this.clock, cache);
        chip.logger = {
            debug() {},
            info: (part, text) => text === 'SEV' && this.cores.event(),
            warn: (part, text) => this.warn(`${part}: ${text}`),
            error: (part, text) => this.warn(`${part}: ${text}`),
        };
        const flash = new Flash(chip, this.cores, this.flashJournal);
        // Another breakpoint without a debugger, as after a panic: that core does nothing more.
        chip.onBreak = (code) => flash.called(code) || this.cores.halt();
        const watchdog = chip.peripherals[WATCHDOG];
        watchdog.onWatchdogTrigger = () => {
            watchdog.alarm.enable = false; // the alarm would fire again at once, without end
            this.cores.leave(() => this.watchdogReset(watchdog.reason));
        };
        const buses = [0, 1].map((index) => new SpiBus(chip.spi[index], this.clock));
        for (const { bus, select, device, reset, interrupt } of this.devices) {
            buses[bus].attach(chip.gpio[select], device);
            if (reset !== undefined) chip.gpio[reset].addListener((level) => device.resetPin(level === 1));
            if (interrupt !== undefined) {
                device.onInterrupt = (level) => chip.gpio[interrupt].setInputValue(level);
                chip.gpio[interrupt].setInputValue(device.interruptLevel);
            }
        }
        this.buses = buses;
        this.cores.start(FLASH);
        return chip;
    }
}

const FLASH = 0x10000000;
const WATCHDOG = 0x40058;

/** Nanoseconds that cores run before devices act: an Ethernet frame of the smallest size takes 5 us. */
const SLICE = 10_000;
