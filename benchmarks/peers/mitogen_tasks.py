# Functions that the benchmarks call in a Mitogen child.
import time

import mitogen.service


def add(a, b):
    return a + b


class Adder(mitogen.service.Service):
    total = 0

    @mitogen.service.expose(policy=mitogen.service.AllowParents())
    @mitogen.service.arg_spec({'a': int, 'b': int})
    def add(self, a, b):
        self.total = a + b
        return self.total

    @mitogen.service.expose(policy=mitogen.service.AllowAny())
    @mitogen.service.arg_spec({'a': int, 'b': int})
    def add_any(self, a, b):
        self.total = a + b
        return self.total


def call_up(context, count):
    times = []
    for index in range(count):
        begun = time.perf_counter()
        context.call_service(Adder, 'add_any', a=index, b=1)
        times.append(time.perf_counter() - begun)
    return sorted(times)[count // 2] * 1e6


def fetch(context, path):
    fp = open('/dev/null', 'wb')
    try:
        mitogen.service.FileService.get(context, path, fp)
    finally:
        fp.close()


def fetch_to(context, path, target):
    with open(target, 'wb') as fp:
        mitogen.service.FileService.get(context, path, fp)


def fetch_tree(context, source, names, target):
    for name in names:
        fetch_to(context, source + '/' + name, target + '/' + name)


def hang():
    while True:
        pass
