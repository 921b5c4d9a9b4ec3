#!/usr/bin/node
// What V8 and libuv ask of a kernel: code written at run time, WebAssembly, threads, children, files, sockets.
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const assert = require('assert');
const child = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');
const vm = require('vm');
const zlib = require('zlib');

const sha = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

// Counts primes, and adds to a counter that all workers share.
function worker() {
  const counter = new Int32Array(workerData.shared);
  let primes = 0;
  for (let n = workerData.from; n < workerData.to; n++) {
    let prime = n > 1;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) { prime = false; break; }
    if (prime) { primes++; Atomics.add(counter, 0, 1); }
  }
  Atomics.add(counter, 1, 1);
  Atomics.notify(counter, 1);
  parentPort.postMessage(primes);
}

// Functions hot enough to be compiled, and then given types they were not compiled for, again and again.
function hot() {
  let sum = 0;
  for (let round = 0; round < 60; round++) {
    const f = new Function('a', 'b', `let s = 0; for (let i = 0; i < 3000; i++) s = (s + (a * i ^ b)) | 0; return s + ${round};`);
    for (let i = 0; i < 12; i++) sum = (sum + f(i, round)) | 0;
    sum = (sum + f(1.5, round)) | 0;
    sum = (sum + Number(f('7', round))) | 0;
  }
  class Point { constructor(x, y) { this.x = x; this.y = y; } length() { return Math.hypot(this.x, this.y); } }
  let length = 0;
  for (let i = 0; i < 2e6; i++) length += new Point(i % 100, i % 77).length();
  const array = Float64Array.from({ length: 200000 }, (_, i) => Math.sin(i) * i);
  array.sort();
  const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));
  console.log('hot', sum, length.toFixed(6), sha(Buffer.from(array.buffer)), fib(27));
  console.log('vm', vm.runInNewContext('x.map((v) => v ** 2n).join()', { x: [1n, 2n ** 64n] }));
  console.log('regexp', 'aaaa-bbb-cc'.repeat(2000).replace(/(?<x>\w+)-(\w+)/gu, '$2+$<x>').length, /^(?:a|aa)+$/.test('a'.repeat(28)));
}

// (memory 1) (func (export "sum") (param $n i32) (result i64) (local $sum i64)
//   (loop (local.set $n (i32.sub (local.get $n) (i32.const 4)))
//         (i32.store (local.get $n) (i32.mul (local.get $n) (i32.const 7)))
//         (local.set $sum (i64.add (local.get $sum) (i64.load32_u (local.get $n))))
//         (br_if 0 (local.get $n)))
//   (local.get $sum))
async function wasm() {
  const section = (id, ...bytes) => [id, bytes.length, ...bytes];
  const body = [1, 1, 0x7e, 0x03, 0x40, 0x20, 0, 0x41, 4, 0x6b, 0x21, 0, 0x20, 0, 0x20, 0, 0x41, 7, 0x6c, 0x36, 2, 0,
    0x20, 1, 0x20, 0, 0x35, 2, 0, 0x7c, 0x21, 1, 0x20, 0, 0x0d, 0, 0x0b, 0x20, 1, 0x0b];
  const bytes = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...section(1, 1, 0x60, 1, 0x7f, 1, 0x7e), ...section(3, 1, 0),
    ...section(5, 1, 0, 1), ...section(7, 1, 3, 0x73, 0x75, 0x6d, 0, 0), ...section(10, 1, body.length, ...body)]);
  const { instance } = await WebAssembly.instantiate(bytes);
  console.log('wasm', instance.exports.sum(65536), instance.exports.sum(4096));
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 64 });
  const before = memory.grow(40);
  console.log('wasm memory', before, memory.buffer.byteLength);
}

async function threads() {
  const shared = new SharedArrayBuffer(8);
  const parts = await Promise.all([0, 1, 2, 3].map((i) => new Promise((resolve, reject) => {
    const thread = new Worker(__filename, { workerData: { shared, from: i * 20000, to: (i + 1) * 20000 } });
    thread.once('message', resolve);
    thread.once('error', reject);
  })));
  console.log('workers', parts.join(), ...new Int32Array(shared));
}

async function children() {
  const run = (command, args) => new Promise((resolve) => {
    const started = child.execFile(command, args, (error, out, err) => resolve([error ? error.code ?? error.signal : 0, out, err]));
    if (command === 'cat') started.stdin.end('from the parent\n');
  });
  console.log('exec', await Promise.all([run('cat', []), run('sh', ['-c', 'echo err >&2; exit 3']), run('sh', ['-c', 'kill -9 $$'])]));
  console.log('spawnSync', child.spawnSync('sort', ['-r'], { input: 'a\nc\nb\n' }).stdout.toString());
  const forked = child.fork(__filename, ['child']);
  const answer = await new Promise((resolve) => { forked.once('message', resolve); forked.send({ n: 41 }); });
  console.log('fork', answer, await new Promise((resolve) => forked.once('exit', resolve)));
}

async function files() {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'js-'));
  await Promise.all(Array.from({ length: 200 }, (_, i) => fs.promises.writeFile(path.join(dir, `f${i}`), `${i}`.repeat(i))));
  const sizes = await Promise.all((await fs.promises.readdir(dir)).map(async (name) => (await fs.promises.stat(path.join(dir, name))).size));
  console.log('files', sizes.length, sizes.reduce((a, b) => a + b));
  const seen = new Promise((resolve) => { const watcher = fs.watch(dir, (_, name) => { watcher.close(); resolve(name); }); });
  fs.writeFileSync(path.join(dir, 'new'), 'x');
  console.log('watch', await seen);
  const big = crypto.createHash('md5').update('seed').digest();
  await new Promise((resolve) => {
    const out = fs.createWriteStream(path.join(dir, 'big')).on('finish', resolve);
    for (let i = 0; i < 500; i++) out.write(Buffer.alloc(8192, big[i % 16]));
    out.end();
  });
  const hash = crypto.createHash('sha1');
  for await (const chunk of fs.createReadStream(path.join(dir, 'big')).pipe(zlib.createGzip()).pipe(zlib.createGunzip())) hash.update(chunk);
  console.log('streams', hash.digest('hex'));
  fs.rmSync(dir, { recursive: true });
}

async function cryptography() {
  const key = crypto.scryptSync('password', 'salt', 32), iv = Buffer.alloc(12, 7);
  const cipher = crypto.createCipheriv('aes-256-gcm', key, iv);
  const sealed = Buffer.concat([cipher.update(Buffer.alloc(1 << 20, 'text')), cipher.final()]);
  const decipher = crypto.createDecipheriv('aes-256-gcm', key, iv).setAuthTag(cipher.getAuthTag());
  const opened = Buffer.concat([decipher.update(sealed), decipher.final()]);
  console.log('aes', sha(sealed), sha(opened));
  for (const name of ['md5', 'sha512', 'sha3-256', 'blake2b512', 'ripemd160']) {
    let hash = 'unavailable';
    try { hash = crypto.createHash(name).update('abc'.repeat(10000)).digest('hex').slice(0, 16); } catch { /* as said */ }
    console.log(name, hash);
  }
  const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const rsa = crypto.generateKeyPairSync('rsa', { modulusLength: 1024 });
  console.log('signed', crypto.verify('sha256', Buffer.from('m'), publicKey, crypto.sign('sha256', Buffer.from('m'), privateKey)),
    crypto.privateDecrypt(rsa.privateKey, crypto.publicEncrypt(rsa.publicKey, Buffer.from('rsa'))).toString());
  const derived = await Promise.all([1, 2, 3, 4, 5, 6].map((i) => new Promise((resolve) => crypto.pbkdf2(`${i}`, 's', 5000, 16, 'sha256', (_, k) => resolve(k.toString('hex'))))));
  console.log('pool', sha(derived.join()), crypto.randomBytes(32).length);
}

async function network() {
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => { body += chunk; }).on('end', () => response.end(JSON.stringify({ url: request.url, got: body.length })));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  const ask = (i) => new Promise((resolve, reject) => {
    const request = http.request({ agent, host: '127.0.0.1', port: server.address().port, path: `/${i}`, method: 'POST' }, (response) => {
      let body = '';
      response.on('data', (chunk) => { body += chunk; }).on('end', () => resolve(body));
    });
    request.on('error', reject);
    request.end('x'.repeat(i * 100));
  });
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => ask(i)));
  agent.destroy();
  await new Promise((resolve) => server.close(resolve));
  console.log('http', sha(answers.join()), answers[99]);
  const name = path.join(os.tmpdir(), 'node.sock');
  const echo = net.createServer((socket) => socket.pipe(socket)).listen(name);
  const back = await new Promise((resolve) => {
    const socket = net.connect(name, () => socket.end('over a unix socket'));
    let got = '';
    socket.on('data', (chunk) => { got += chunk; }).on('end', () => resolve(got));
  });
  echo.close();
  console.log('unix', back);
}

async function main() {
  hot();
  await wasm();
  await threads();
  await children();
  await files();
  await cryptography();
  await network();
  const order = [];
  await new Promise((resolve) => {
    setTimeout(() => { order.push('timeout'); resolve(); }, 5);
    setImmediate(() => order.push('immediate'));
    process.nextTick(() => order.push('tick'));
    Promise.resolve().then(() => order.push('promise'));
  });
  console.log('loop', order.join());
  process.on('SIGUSR2', () => { console.log('signal'); process.exit(0); });
  setInterval(() => {}, 1000);
  process.kill(process.pid, 'SIGUSR2');
}

if (!isMainThread) worker();
else if (process.argv[2] === 'child') process.once('message', ({ n }) => process.send({ n: n + 1 }, () => process.exit(4)));
else main();
