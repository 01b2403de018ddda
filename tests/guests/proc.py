"""What /proc and /dev show, in words that are the same natively and in a zone."""

import errno
import multiprocessing
import os
import pty
import stat
import subprocess
import threading
from multiprocessing import shared_memory


def tried(call, *arguments):
    """The result, or the name of the errno."""
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def opened(path, flags=os.O_RDONLY, **at):
    descriptor = tried(lambda: os.open(path, flags, **at))
    if isinstance(descriptor, int):
        os.close(descriptor)
        return "opened"
    return descriptor


def out(*words):
    print(*words, flush=True)


def own():
    me = os.getpid()
    out(os.readlink("/proc/self") == str(me), os.readlink("/proc/thread-self") == f"{me}/task/{me}")
    out(os.path.samefile("/proc/self/exe", f"/proc/{me}/exe"), os.readlink("/proc/self/root"))
    fields = open("/proc/self/stat").read().split()
    out(fields[0] == str(me), fields[3] == str(os.getppid()), fields[5] == str(os.getsid(0)))
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
    out(status["State"].strip(), status["Pid"].strip() == str(me), status["SigBlk"].strip())
    argv = open("/proc/self/cmdline", "rb").read().split(b"\0")
    out(argv[0].decode().rsplit("/", 1)[-1], argv[-2].decode().rsplit("/", 1)[-1])
    maps = open("/proc/self/maps").read()
    # Where the personality lies: an address somewhere else may hold the same digits.
    hidden = any(line.startswith("6000000") for line in maps.splitlines())
    out("[stack]" in maps, "libc.so" in maps, "memfd" in maps, hidden)
    names = os.listdir("/proc/self/fd")
    out(names == sorted(names, key=int))
    processes = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    out(processes == sorted(processes), me in processes)


def directories():
    os.chdir("/proc")
    out(os.getcwd(), str(os.getpid()) in os.listdir("."), open("self/comm").read().strip())
    os.chdir(f"{os.getpid()}/fd")
    out(os.getcwd() == f"/proc/{os.getpid()}/fd")
    read, write = os.pipe()
    # Made after the directory was looked at, and found without another look.
    out(os.readlink(str(read)) == os.readlink(str(write)), opened("12345"))
    os.close(read)
    out(tried(os.readlink, str(read)), str(write) in os.listdir("."))
    os.close(write)
    os.chdir("..")
    out(os.getcwd() == f"/proc/{os.getpid()}")
    at = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    out(os.fstat(at) == os.stat(f"/proc/{os.getpid()}"), opened("status", dir_fd=at), opened("none", dir_fd=at))
    kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in os.scandir("/proc/self")}
    out(kinds["fd"], kinds["task"], kinds["stat"], kinds["cwd"])
    os.close(at)
    # From its beginning it holds what there is by then.
    threads = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY)
    before = os.listdir(threads)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    out(len(before), len(os.listdir(threads)))
    end.set()
    thread.join()
    os.close(threads)
    os.chdir("/tmp")


def links():
    open("/proc/self/cwd/proc-test", "w").write("through a link")
    out(open("/tmp/proc-test").read(), open("/proc/self/root/tmp/proc-test").read())
    tried(os.mkdir, "/proc/self/cwd/proc-dir")
    out(os.path.isdir("/tmp/proc-dir"))
    os.rmdir("/tmp/proc-dir")
    file = os.open("/tmp/proc-test", os.O_RDWR)
    os.unlink(f"/proc/self/cwd/proc-test")
    # The file has no name any more, but its descriptor has.
    again = os.open(f"/dev/fd/{file}", os.O_RDONLY)
    out(os.read(again, 100), os.readlink(f"/proc/self/fd/{file}"))
    os.close(again)
    os.close(file)
    out(opened("/proc/self", os.O_RDONLY | os.O_NOFOLLOW), opened("/dev/stdin", os.O_NOFOLLOW))
    os.symlink("/proc/self/root/tmp/loop-b", "/tmp/loop-a")
    os.symlink("/proc/self/root/tmp/loop-a", "/tmp/loop-b")
    out(opened("/tmp/loop-a"), tried(os.stat, "/tmp/loop-a/x"))
    os.unlink("/tmp/loop-a")
    os.unlink("/tmp/loop-b")
    done = subprocess.run(["bash", "-c", "cat <(echo first) <(echo second); /proc/$$/exe -c 'echo third'"], stdout=subprocess.PIPE)
    out(done.stdout)


def refusals():
    out(opened("/proc", os.O_RDWR), opened("/proc/self/stat/"), opened("/proc/self/stat", os.O_DIRECTORY))
    out(opened("/proc/none"), opened("/proc/self/none"), opened("/proc/4194303/stat"), opened("/proc/01/stat"))
    out(opened("/dev/null", os.O_CREAT | os.O_EXCL | os.O_WRONLY), opened("/dev/null/x"))
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(33)
        os.setuid(33)
        other = f"/proc/{os.getppid()}/"
        for name in ["environ", "maps", "mem", "io", "auxv", "fd/0"]:
            out(name, opened(other + name))
        out(tried(os.listdir, other + "fd"), tried(os.readlink, other + "cwd"), tried(os.readlink, other + "exe"))
        out(opened(other + "stat"), opened(other + "status"), opened(other + "cmdline"))
        os._exit(0)
    os.waitpid(child, 0)


def devices():
    for name in ["null", "zero", "full", "random", "urandom"]:
        found = os.stat("/dev/" + name)
        out(name, stat.filemode(found.st_mode), os.major(found.st_rdev), os.minor(found.st_rdev), opened("/dev/" + name, os.O_RDWR))
    child = os.fork()
    if child != 0:
        os.waitpid(child, 0)
        return
    os.setsid()
    out("tty", opened("/dev/tty"))
    out(tried(os.write, os.open("/dev/full", os.O_WRONLY), b"x"), os.read(os.open("/dev/zero", os.O_RDONLY), 3))
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    out(name.rsplit("/", 1)[0], os.path.basename(name) in os.listdir("/dev/pts"), os.fstat(slave)[1:5] == os.stat(name)[1:5])
    os.close(slave)
    # The first terminal that a session leader opens controls it.
    slave = os.open(name, os.O_RDWR)
    out(os.tcgetpgrp(slave) == os.getpid(), opened("/dev/tty", os.O_RDWR))
    os.write(os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY), b"hello")
    out(os.read(master, 5))
    os._exit(0)


def work(queue):
    queue.put("done")


def shared():
    queue = multiprocessing.Queue()
    child = multiprocessing.Process(target=work, args=(queue,))
    child.start()
    out(queue.get())
    child.join()
    memory = shared_memory.SharedMemory(create=True, size=64)
    out(memory.name in os.listdir("/dev/shm"))
    memory.close()
    memory.unlink()


if __name__ == "__main__":
    for part in [own, directories, links, refusals, shared, devices]:
        out("==", part.__name__)
        part()
