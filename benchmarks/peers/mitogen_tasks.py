# Functions that the benchmarks call in a Mitogen child.
import mitogen.service


def add(a, b):
    return a + b


def fetch(context, path):
    fp = open('/dev/null', 'wb')
    try:
        mitogen.service.FileService.get(context, path, fp)
    finally:
        fp.close()


def fetch_to(context, path, target):
    with open(target, 'wb') as fp:
        mitogen.service.FileService.get(context, path, fp)


def hang():
    while True:
        pass
