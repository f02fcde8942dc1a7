// The page in a real browser: `node check.mjs PINETBOOT NODE_MODULES DIRECTORY`. A server with the page, Pis as TFTP clients on loopback addresses
// of their own, Chromium without a screen. Screenshots go to DIRECTORY. Run it in a network namespace of its own (`.ci/run page`): a browser
// asks its maker for updates.
import { createRequire } from 'node:module';
import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';

const [pinetboot, modules, pictures] = process.argv.slice(2);
const require = createRequire(join(modules, 'x.js'));
const { chromium } = require('playwright-core');
const axe = require.resolve('axe-core');
const TOKEN = '0123456789abcdef0123456789abcdef';
const LIMIT = 60_000;

/** A tree of boot files, and the inventory. */
function files(dir) {
  const write = (name, text) => {
    const path = join(dir, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, text);
    return path;
  };
  write('tree/config.txt', 'arm_64bit=1\n');
  write('tree/cmdline.txt', 'console=tty1\n');
  for (const name of ['bcm2712-rpi-5-b.dtb', 'start4.elf', 'fixup4.dat']) write(`tree/${name}`, 'x'.repeat(3000));
  for (const [name, length] of [['kernel_2712.img', 6e6], ['kernel8.img', 6e6], ['initramfs_2712', 4e6]]) truncateSync(write(`tree/${name}`, ''), length);
  write('token', TOKEN + '\n');
  const names = ['kitchen', 'attic', 'garage', 'a-name-of-the-longest-kind-that-a-host-may-have-in-an-inventory'];
  write('pinetboot.toml', names.map((name, index) => `[pi.${serial(index)}]\nname = '${name}'\n`).join(''));
}

const serial = index => (0xbd989a00 + index).toString(16);

/** A server; its addresses and its end. */
async function serve(dir, more = []) {
  const child = spawn(pinetboot, ['serve', '--config', join(dir, 'pinetboot.toml'), '--listen', '127.0.0.1', '--tftp-port', '0', '--web', '127.0.0.1:0',
    '--control', join(dir, 'control'), '--boot-clock', '20', ...more, join(dir, 'tree')], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '', log = '';
  child.stderr.on('data', data => { log += data; });
  const ready = await new Promise((resolve, reject) => {
    child.stdout.on('data', data => { out += data; if (out.includes('\n')) resolve(out); });
    child.on('exit', () => reject(new Error(log)));
  });
  const ended = new Promise(resolve => child.on('exit', resolve));
  const port = Number(/tftp [\d.]+:(\d+)/.exec(ready)[1]);
  const web = / web ([\d.:]+)/.exec(ready)[1];
  return { port, url: `http://${web}`, stop: async () => { child.kill('SIGTERM'); await ended; return log; } };
}

/** A Pi: TFTP (RFC 1350, 2348) from an address of its own. `take` ends after so many blocks; `open` keeps the transfer. */
class Pi {
  constructor(port, index) { Object.assign(this, { port, index, address: `127.0.1.${index + 1}`, open: [] }); }

  async take(name, blocks = Infinity) {
    const socket = createSocket('udp4');
    await new Promise(resolve => socket.bind(0, this.address, resolve));
    const asks = Buffer.concat([Buffer.from([0, 1]), ...[`${serial(this.index)}/${name}`, 'octet', 'tsize', '0', 'blksize', '1024'].map(word => Buffer.from(word + '\0'))]);
    socket.send(asks, this.port, '127.0.0.1');
    const answer = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no answer: ${name}`)), LIMIT);
      socket.on('message', (packet, from) => {
        const kind = packet[1], block = packet.readUInt16BE(2);
        const acknowledge = number => socket.send(Buffer.from([0, 4, number >> 8, number & 255]), from.port, from.address);
        if (kind === 5) { clearTimeout(late); resolve('error'); }
        if (kind === 6) acknowledge(0);
        if (kind !== 3) return;
        if (block >= blocks) { clearTimeout(late); return resolve('held'); }
        acknowledge(block);
        if (packet.length < 4 + 1024) { clearTimeout(late); resolve('whole'); }
      });
    });
    if (answer === 'held') this.open.push(socket); else socket.close();
    return answer;
  }

  close() { this.open.forEach(socket => socket.close()); }
}

/** Waits until this is true. */
async function until(what, is) {
  const end = Date.now() + LIMIT;
  for (;;) {
    const value = await is();
    if (value) return value;
    assert(Date.now() < end, `never: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

const faults = [];

/** A tab of the browser in which every complaint counts. */
async function tab(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  const page = await context.newPage();
  page.on('console', message => { if (['error', 'warning'].includes(message.type())) faults.push(message.text()); });
  page.on('pageerror', error => faults.push(String(error)));
  page.on('request', request => { if (!request.url().startsWith('http://127.0.0.1:') && !request.url().startsWith('data:')) faults.push(`foreign request: ${request.url()}`); });
  return page;
}

/** axe-core, in both colour schemes. The page's policy forbids its script; the browser's own interface runs it all the same. */
async function accessible(page, what) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    const source = readFileSync(axe, 'utf8');
    const found = await page.evaluate(`(() => { ${source}; return axe.run(document, { resultTypes: ['violations'] }); })()`);
    for (const { id, impact, nodes } of found.violations) {
      const line = `${what}, ${colorScheme}: ${id} (${impact}): ${nodes[0].html.slice(0, 200)} ${nodes[0].failureSummary}`;
      if (['serious', 'critical'].includes(impact)) faults.push(line); else console.log(line);
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
}

/** The page as an artefact, wide and narrow, light and dark; at 320 px nothing is wider than the window. */
async function pictured(page, name) {
  for (const width of [1100, 320]) {
    await page.setViewportSize({ width, height: 800 });
    const wide = await page.evaluate('document.documentElement.scrollWidth');
    if (wide > width) faults.push(`${name}: ${wide} px wide in a window of ${width} px`);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(pictures, `${name}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.setViewportSize({ width: 1100, height: 800 });
  await page.emulateMedia({ colorScheme: 'light' });
}

/** The metrics and the alert rules, by Prometheus' own program, if there is one. */
async function checkedByPromtool(metrics) {
  const rules = new URL('../../pinetboot-std/packaging/prometheus/alerts.yaml', import.meta.url).pathname;
  for (const [what, input] of [[['check', 'metrics'], metrics], [['check', 'rules', rules], '']]) {
    const ended = spawnSync('promtool', what, { input, encoding: 'utf8' });
    if (ended.error) return console.log('SKIPPED promtool: not installed (Debian: prometheus)');
    console.log(`promtool ${what[1]}: ${ended.status === 0 ? 'ok' : 'failed'}`);
    if (ended.status !== 0) faults.push(`promtool ${what.join(' ')}: ${ended.stdout}${ended.stderr}`);
  }
}

/** With a token: nothing without it; the cookie's browser sees the page. */
async function guarded(browser, dir) {
  const server = await serve(dir, ['--web-token', join(dir, 'token')]);
  assert.equal((await fetch(server.url)).status, 401);
  const page = await tab(browser);
  await page.goto(`${server.url}/?token=${TOKEN}`);
  await until('live', async () => await page.locator('#live').textContent() === 'live');
  assert.equal(new URL(page.url()).search, '', 'the token is not in the address any more');
  await page.context().close();
  await server.stop();
}

async function look(browser, dir) {
  const server = await serve(dir);
  const page = await tab(browser);
  await page.goto(server.url);
  await until('live', async () => await page.locator('#live').textContent() === 'live');
  await page.getByRole('link', { name: 'kitchen' }).waitFor();
  await pictured(page, 'before');
  await accessible(page, 'before');

  // A boot: the bar of the file under way grows.
  const kitchen = new Pi(server.port, 0);
  for (const name of ['config.txt', 'bcm2712-rpi-5-b.dtb', 'cmdline.txt']) assert.equal(await kitchen.take(name), 'whole');
  await kitchen.take('initramfs_2712', 1500);
  const bar = page.locator('ul.pis li:has-text("kitchen") progress');
  const first = await until('a bar', async () => await bar.count() && Number(await bar.getAttribute('value')));
  assert(first > 0);
  await pictured(page, 'under-way');
  const whole = kitchen.take('initramfs_2712');
  assert.equal(await whole, 'whole');
  assert.equal(await kitchen.take('kernel_2712.img', 5000), 'held');
  await until('the bar grows', async () => await bar.count() && Number(await bar.getAttribute('value')) > first);
  assert.equal(await kitchen.take('kernel_2712.img'), 'whole');
  await page.locator('ul.pis li:has-text("kitchen")').getByText('kernel sent').waitFor({ timeout: LIMIT });

  // A Pi that stops in the middle of a file gets a verdict, and comes first.
  const attic = new Pi(server.port, 1);
  await attic.take('config.txt');
  await attic.take('kernel_2712.img', 2000);
  await page.locator('ul.pis li:has-text("attic") .verdict').first().waitFor({ timeout: LIMIT });
  assert.match(await page.locator('ul.pis li').first().textContent(), /attic/);
  // The log grows without a new page.
  await page.locator('#log li', { hasText: 'attic ! stuck' }).waitFor({ timeout: LIMIT });
  assert.equal(await page.locator('#log li', { hasText: 'attic ! stuck' }).count(), 1);
  await pictured(page, 'stuck');
  await accessible(page, 'stuck');

  // Its own page, with a good boot before.
  for (const name of ['config.txt', 'kernel_2712.img']) await kitchen.take(name);
  await page.getByRole('link', { name: 'kitchen' }).click();
  await page.locator('rect').first().waitFor({ timeout: LIMIT });
  await pictured(page, 'one-pi');
  await accessible(page, 'one Pi');

  assert.match(await page.locator('#log').textContent(), /kitchen/);
  assert.doesNotMatch(await page.locator('#log').textContent(), /attic/);
  await page.getByRole('link', { name: 'Images and disk' }).click();
  await page.getByRole('heading', { name: 'Disk' }).waitFor();
  await pictured(page, 'images');
  await accessible(page, 'images');

  // Without JavaScript the state is there.
  const plain = await tab(browser, { javaScriptEnabled: false });
  await plain.goto(server.url);
  assert.match(await plain.locator('main').textContent(), /attic[^]*Stuck[^]*kitchen/);
  await plain.screenshot({ path: join(pictures, 'without-javascript.png'), fullPage: true });

  // Sixty more, for which a page has to stay a page.
  const many = Array.from({ length: 60 }, (_, index) => new Pi(server.port, index + 3));
  await Promise.all(many.map(pi => pi.take(pi.index % 7 ? 'config.txt' : 'kernel_2712.img')));
  await page.goto(server.url);
  await until('all of them', async () => await page.locator('ul.pis li').count() >= 60);
  await pictured(page, 'many');
  await accessible(page, 'many');
  await checkedByPromtool(await (await fetch(`${server.url}/metrics`)).text());
  [kitchen, attic, ...many].forEach(pi => pi.close());
  const closing = page.context().close();
  await Promise.all([closing, plain.context().close()]);
  return server.stop();
}

const dir = mkdtempSync(join(tmpdir(), 'pinetboot-page-'));
mkdirSync(pictures, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
try {
  files(dir);
  const begins = Date.now();
  await look(browser, dir);
  await guarded(browser, dir);
  console.log(`looked at in ${((Date.now() - begins) / 1000).toFixed(1)} s; pictures in ${pictures}`);
} finally {
  await browser.close();
  rmSync(dir, { recursive: true });
}
if (faults.length) {
  console.log([...new Set(faults)].join('\n'));
  process.exit(1);
}
