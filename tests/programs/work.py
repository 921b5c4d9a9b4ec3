#!/usr/bin/python3
"""What python3 brings with it, put to work; prints results, never times, addresses or pids."""
import asyncio
import concurrent.futures
import ctypes
import decimal
import fractions
import gzip
import hashlib
import json
import lzma
import mmap
import multiprocessing
import os
import pickle
import queue
import random
import re
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import threading
import zlib


def show(name, *values):
    print(name, *values, flush=True)


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def texts():
    rows = [{"id": i, "name": "n" * (i % 7), "values": [i / 3, -i, None, True], "ü": "\u20ac"} for i in range(3000)]
    text = json.dumps(rows, sort_keys=True)
    assert json.loads(text) == rows
    show("json", len(text), digest(text.encode()))
    blob = text.encode()
    for name in ("md5", "sha1", "sha512", "blake2b", "sha3_256"):
        show(name, hashlib.new(name, blob).hexdigest()[:20])
    show("pbkdf2", hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 20000).hex()[:20])
    for module in (zlib, gzip, lzma):
        packed = module.compress(blob)
        assert module.decompress(packed) == blob
        show(module.__name__, len(packed) // 100)
    show("re", len(re.findall(r'"name": "(n+)"', text)), digest(re.sub(r"\d+\.\d+", "F", text).encode()))
    show("pickle", digest(pickle.dumps(rows, protocol=4)), pickle.loads(pickle.dumps(rows)) == rows)


def numbers():
    decimal.getcontext().prec = 60
    show("decimal", decimal.Decimal(2).sqrt(), (decimal.Decimal(1) / 7).ln())
    show("fractions", sum(fractions.Fraction(1, i) for i in range(1, 60)))
    random.seed(2024)
    show("random", digest(repr([random.gauss(0, 1) for _ in range(5000)]).encode()))
    show("pow", digest(str(pow(3, 9000)).encode()))


def square(i):
    return i * i, hashlib.md5(str(i).encode()).hexdigest()


def processes():
    with multiprocessing.Pool(4) as pool:
        results = pool.map(square, range(400), chunksize=20)
    show("pool", sum(r[0] for r in results), digest(repr(results).encode()))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as spawned:
        show("spawn", list(spawned.map(abs, [-1, 2, -3])))
    counter = multiprocessing.Value("i", 0)
    lock = multiprocessing.Lock()

    def add():
        for _ in range(300):
            with lock:
                counter.value += 1

    workers = [multiprocessing.Process(target=add) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    show("shared", counter.value, [worker.exitcode for worker in workers])
    ends = subprocess.Popen(["sort", "-n"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    show("subprocess", digest(ends.communicate("\n".join(str(i * 7919 % 5000) for i in range(5000)))[0].encode()))
    show("exit", subprocess.run(["sh", "-c", "kill -SEGV $$"], check=False).returncode)
    child = subprocess.Popen(["sleep", "1000"])
    child.send_signal(signal.SIGTERM)
    show("killed", child.wait())


def threads():
    tasks, done = queue.Queue(), queue.Queue()

    def work():
        while (item := tasks.get()) is not None:
            done.put(zlib.crc32(bytes([item % 256]) * 20000))

    crew = [threading.Thread(target=work) for _ in range(6)]
    for thread in crew:
        thread.start()
    for i in range(600):
        tasks.put(i)
    for _ in crew:
        tasks.put(None)
    for thread in crew:
        thread.join()
    show("threads", done.qsize(), sum(done.get() for _ in range(600)))
    turn = threading.Condition()
    state = []

    def ping(me):
        for i in range(200):
            with turn:
                turn.wait_for(lambda: len(state) % 2 == me)
                state.append(me)
                turn.notify_all()

    pair = [threading.Thread(target=ping, args=(i,)) for i in range(2)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    show("condition", len(state), sum(state))


def memory():
    with tempfile.TemporaryFile() as file:
        file.truncate(1 << 20)
        with mmap.mmap(file.fileno(), 1 << 20) as area:
            for i in range(0, 1 << 20, 4096):
                area[i] = i >> 12 & 255
            area.flush()
            file.seek(255 << 12)
            show("mmap", area[200 << 12], file.read(1)[0], area.find(b"\x09"))
    shared = mmap.mmap(-1, 65536)
    pid = os.fork()
    if pid == 0:
        shared[0:5] = b"child"
        os._exit(7)
    show("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shared[0:5])
    block = bytearray(b"x" * (48 << 20))
    pid = os.fork()
    if pid == 0:
        block[::4096] = b"y" * len(block[::4096])
        os._exit(0 if block.count(b"y") == len(block) // 4096 else 1)
    show("copied", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), block.count(b"y"))
    libc = ctypes.CDLL(None)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    array = (ctypes.c_int * 500)(*[i * 7919 % 1009 for i in range(500)])
    libc.qsort(array, 500, 4, compare(lambda a, b: a[0] - b[0]))  # a callback is code written at run time
    show("ctypes", list(array) == sorted(array), libc.strlen(b"12345"))


async def serve():
    async def answer(reader, writer):
        while line := await reader.readline():
            writer.write(line.strip()[::-1] + b"\n")
            await writer.drain()
        writer.close()

    async def ask(port, me):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        total = 0
        for i in range(40):
            writer.write(b"%d\n" % (me * 1000 + i))
            total += int(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return total

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    show("asyncio", await asyncio.gather(*[ask(port, me) for me in range(1, 13)]))
    server.close()
    process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    show("asyncio subprocess", digest((await process.communicate(b"z" * 300000))[0]))
    try:
        await asyncio.wait_for(asyncio.sleep(100), 0.02)
    except asyncio.TimeoutError:
        show("timeout")


def sockets():
    left, right = socket.socketpair()
    with left, right:
        socket.send_fds(left, [b"fd"], [0])
        show("send_fds", len(socket.recv_fds(right, 10, 1)[1]))
        poll = select.epoll()
        poll.register(right, select.EPOLLIN)
        show("epoll", poll.poll(0.01), left.send(b"x"), len(poll.poll(1)))
    context = ssl.create_default_context()
    show("ssl", context.verify_mode == ssl.CERT_REQUIRED, len(context.get_ciphers()) > 5, ssl.HAS_TLSv1_3)
    # A handshake in memory, without a peer's certificate: it gets as far as the hello and the refusal of nonsense.
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="nobody")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        show("hello", outgoing.read(3))
    incoming.write(b"this is no TLS at all")
    try:
        client.do_handshake()
    except ssl.SSLError as error:
        show("refused", error.reason)
    with socket.socket(socket.AF_INET6) as six:
        six.bind(("::1", 0))
        show("ipv6", six.getsockname()[0])


def database():
    base = sqlite3.connect(":memory:")
    base.execute("create table t (a integer primary key, b text)")
    base.executemany("insert into t values (?, ?)", ((i, hex(i)) for i in range(5000)))
    show("sqlite3", base.execute("select count(*), max(b), sum(length(b)) from t where a % 3 = 1").fetchone())


def files():
    root = tempfile.mkdtemp()
    for i in range(300):
        path = os.path.join(root, f"d{i % 10}", f"f{i}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write("line\n" * i)
    archive = shutil.make_archive(root, "tar", root)
    show("tree", sum(len(names) for _, _, names in os.walk(root)), os.path.exists(archive))
    shutil.rmtree(root)
    os.unlink(archive)


def caught():
    seen = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append("alarm"))
    signal.signal(signal.SIGCHLD, lambda *_: seen.append("child"))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while not seen:
        signal.pause()
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    show("signals", seen)


if __name__ == "__main__":
    texts()
    numbers()
    processes()
    threads()
    memory()
    asyncio.run(serve())
    sockets()
    database()
    files()
    caught()
