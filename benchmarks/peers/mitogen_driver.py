# Mitogen (Debian's python3-mitogen), driven as peers/driver.js says.
import collections
import importlib
import json
import os
import sys
import tempfile
import time
import traceback

import mitogen
import mitogen.core
import mitogen.master
import mitogen.parent
import mitogen.service
import mitogen.ssh
import mitogen.utils

import mitogen_tasks

PYTHON = sys.executable


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def children_of(parent):
    """Everything below a process that is not dead."""
    table = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open('/proc/%s/stat' % entry) as fp:
                    state, ppid = fp.read().rsplit(') ', 1)[1].split()[:2]
            except (IOError, OSError):
                continue
            if state not in 'ZX':
                table[int(entry)] = int(ppid)
    found = [parent]
    for pid in found:
        found.extend(child for child, ppid in table.items() if ppid == pid)
    return found[1:]


class Driver(object):
    def __init__(self, router):
        self.router = router
        self.worker = None
        self.spares = []
        self.chains = {}
        self.file = None
        self.adder = None

    def warm(self):
        if self.worker is None:
            self.worker = self.router.local(python_path=PYTHON)
            self.worker.call(mitogen_tasks.add, 1, 2)
        return self.worker

    def roundTrip(self, count):
        context = self.warm()
        times = []
        for index in range(count):
            begun = time.perf_counter()
            context.call(mitogen_tasks.add, index, 1)
            times.append(time.perf_counter() - begun)
        return median(times) * 1e6

    def chain(self, depth):
        if depth not in self.chains:
            context = None
            for _ in range(depth):
                context = self.router.local(python_path=PYTHON, via=context) if context else self.router.local(python_path=PYTHON)
            context.call(mitogen_tasks.add, 1, 2)
            self.chains[depth] = context
        return self.chains[depth]

    def hops(self, count, depth):
        """As roundTrip, in a context that is reached by way of depth - 1 others."""
        context = self.chain(depth)
        times = []
        for index in range(count):
            begun = time.perf_counter()
            context.call(mitogen_tasks.add, index, 1)
            times.append(time.perf_counter() - begun)
        return median(times) * 1e6

    def pipelined(self, count, depth):
        context = self.warm()
        begun = time.perf_counter()
        # One context answers in order, so the oldest receiver is the next to be ready: cheaper than a Select.
        waiting = collections.deque()
        for index in range(count):
            if len(waiting) == depth:
                waiting.popleft().get().unpickle()
            waiting.append(context.call_async(mitogen_tasks.add, index, 1))
        while waiting:
            waiting.popleft().get().unpickle()
        return count / (time.perf_counter() - begun)

    def service(self, count):
        context = self.warm()
        times = []
        for index in range(count):
            begun = time.perf_counter()
            context.call_service(mitogen_tasks.Adder, 'add', a=index, b=1)
            times.append(time.perf_counter() - begun)
        return median(times) * 1e6

    def servicePipelined(self, count, depth):
        context = self.warm()
        begun = time.perf_counter()
        waiting = collections.deque()
        for index in range(count):
            if len(waiting) == depth:
                waiting.popleft().get().unpickle()
            waiting.append(context.call_service_async(mitogen_tasks.Adder, 'add', a=index, b=1))
        while waiting:
            waiting.popleft().get().unpickle()
        return count / (time.perf_counter() - begun)

    def serviceUp(self, count):
        context = self.warm()
        if self.adder is None:
            self.adder = mitogen.service.Pool(self.router, services=[mitogen_tasks.Adder(self.router)])
        return context.call(mitogen_tasks.call_up, self.router.myself(), count)

    def fileService(self, bytes, depth=1):
        """MB/s of FileService from the master to a child, the only direction that it is made for."""
        context = self.warm() if depth == 1 else self.chain(depth)
        if self.file is None:
            self.file = tempfile.NamedTemporaryFile(prefix='tendril-bench-')
            self.file.write(os.urandom(1 << 20) * (bytes >> 20))
            self.file.flush()
            self.service = mitogen.service.FileService(self.router)
            self.pool = mitogen.service.Pool(self.router, services=[self.service])
            self.service.register(self.file.name)
        begun = time.perf_counter()
        context.call(mitogen_tasks.fetch, self.router.myself(), self.file.name)
        return bytes / (time.perf_counter() - begun) / 1e6

    def serve(self, path):
        if not hasattr(self, 'served'):
            self.served = mitogen.service.FileService(self.router)
            self.pool = mitogen.service.Pool(self.router, services=[self.served])
        self.served.register_prefix(path)

    def fetchFile(self, bytes, depth, **paths):
        """As fileService, of a file that is there, written to another, by a context that is so deep."""
        self.hops(1, depth)
        self.serve(paths['from'])
        begun = time.perf_counter()
        self.chains[depth].call(mitogen_tasks.fetch_to, self.router.myself(), paths['from'], paths['to'])
        return bytes / (time.perf_counter() - begun) / 1e6

    def fetchTree(self, bytes, depth, **paths):
        """As fetchFile, of each file of a directory. The figure is for `bytes` of whatever the caller counts."""
        self.hops(1, depth)
        self.serve(paths['from'])
        os.makedirs(paths['to'], exist_ok=True)
        begun = time.perf_counter()
        self.chains[depth].call(mitogen_tasks.fetch_tree, self.router.myself(), paths['from'], os.listdir(paths['from']), paths['to'])
        return bytes / (time.perf_counter() - begun) / 1e6

    def first_answer(self, make, fn, *args):
        begun = time.perf_counter()
        context = make()
        context.call(fn, *args)
        ms = (time.perf_counter() - begun) * 1000
        context.shutdown(wait=True)
        return ms

    def connect(self):
        return self.first_answer(lambda: self.router.local(python_path=PYTHON), os.getpid)

    def connectModule(self):
        return self.first_answer(lambda: self.router.local(python_path=PYTHON), mitogen_tasks.add, 1, 2)

    def connectSsh(self, config):
        return self.first_answer(lambda: self.router.ssh(hostname='bench', python_path=PYTHON, check_host_keys='enforce', ssh_args=['-F', config]), os.getpid)

    def load(self, directory, module, python_path=None, empty_calls=3):
        """Loads a package in a child that has answered a call, as peers/tendril.js does."""
        if directory not in sys.path:
            sys.path.insert(0, directory)
        loaded = importlib.import_module(module).loaded
        context = self.router.local(python_path=python_path or PYTHON)
        context.call(os.getpid)
        empty = []
        for _ in range(empty_calls):
            begun = time.perf_counter()
            context.call(os.getpid)
            empty.append((time.perf_counter() - begun) * 1000)
        begun = time.perf_counter()
        context.call(loaded)
        ms = (time.perf_counter() - begun) * 1000
        context.shutdown(wait=True)
        return {'ms': ms, 'emptyMs': median(empty)}

    def child(self, calls):
        before = children_of(os.getpid())
        context = self.router.local(python_path=PYTHON)
        self.spares.append(context)
        for _ in range(calls):
            context.call(mitogen_tasks.add, 1, 2)
        # The process that started the child ends by itself, soon.
        time.sleep(0.2)
        return [pid for pid in children_of(os.getpid()) if pid not in before]

    def endChildren(self):
        for context in self.spares:
            context.shutdown(wait=True)
        self.spares = []

    def hung(self):
        context = self.router.local(python_path=PYTHON)
        pid = context.call(os.getpid)
        context.call_no_reply(mitogen_tasks.hang)
        time.sleep(0.3)
        begun = time.perf_counter()
        context.shutdown()
        while pid in children_of(os.getpid()) and time.perf_counter() - begun < 10:
            time.sleep(0.0005)
        return (time.perf_counter() - begun) * 1000

    def bytes(self):
        """As Mitogen's own preamble_size.py counts them."""
        context = mitogen.parent.Context(self.router, 0)
        options = mitogen.ssh.Options(max_message_size=0, hostname='foo')
        connection = mitogen.ssh.Connection(options, self.router)
        connection.context = context
        return {'command': len(' '.join(connection.get_boot_command())), 'core': len(connection.get_preamble())}


def main(router):
    driver = Driver(router)
    answer = lambda value: (sys.stdout.write(json.dumps(value) + '\n'), sys.stdout.flush())
    answer({'ready': True, 'version': '.'.join(map(str, mitogen.__version__))})
    try:
        for line in iter(sys.stdin.readline, ''):
            options = json.loads(line)
            try:
                answer({'value': getattr(driver, options.pop('command'))(**options)})
            except Exception:
                answer({'error': traceback.format_exc()})
    finally:
        if hasattr(driver, 'served'):
            driver.served.stop()
        if driver.adder:
            driver.adder.stop()
        if driver.file:
            driver.pool.stop()
            driver.file.close()


if __name__ == '__main__':
    mitogen.utils.run_with_router(main)
