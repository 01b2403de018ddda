"""What a user of a zone may and may not do, told line by line: to be the same whoever decides it."""

import os
import resource
import signal
import socket
import subprocess
import tempfile
import threading


def tell(name, what):
    try:
        result = what()
    except BaseException as error:
        result = f"{type(error).__name__}: {error}"
    print(name, result, flush=True)


def with_file(path, what):
    with open(path, "r+") as file:
        return what(file)


def in_threads():
    """Several threads open, read and make files at once."""
    read = []

    def work(number):
        with open("/etc/hostname") as file:
            read.append(file.read())
        with open(f"thread{number}", "w") as file:
            file.write("x")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(read), len([name for name in os.listdir() if name.startswith("thread")])


def over_tcp():
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    client = socket.create_connection(server.getsockname())
    peer, _ = server.accept()
    peer.send(b"x")
    return client.recv(1)


def over_unix():
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("socket")
    peer, _ = server.accept()
    return peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[4:]


class Alarm(Exception):
    pass


def alarmed():
    """An open that waits ends by a signal."""

    def handler(_signal, _frame):
        raise Alarm("in time")

    os.mkfifo("pipe")
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    return open("pipe")


def made(path, mode):
    with open(path, "w"):
        pass
    os.chmod(path, mode)
    return oct(os.stat(path).st_mode)


def caught():
    got = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: got.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    os.kill(0, 0)
    return got


def killed(what):
    process = subprocess.Popen(["sleep", "9"], process_group=0) if what else None
    if what == "group":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.kill()
    return process.wait()


def beneath(flags):
    directory = os.open("/etc", flags)
    inner = os.open("passwd", os.O_RDONLY, dir_fd=directory)
    told = os.fstat(inner).st_size > 0, os.stat("group", dir_fd=directory).st_size > 0
    os.close(inner)
    os.close(directory)
    return told


def again(path, mode):
    """Opens what is open once more."""
    with open(path) as file:
        return open(f"/proc/self/fd/{file.fileno()}", mode)


def walked():
    before = os.getcwd()
    os.chdir("/usr/lib")
    told = os.getcwd(), os.path.exists("os-release")
    os.fchdir(os.open(before, os.O_RDONLY))
    return told, os.getcwd() == before


def renamed():
    os.mkdir("one")
    with open("one/file", "w") as file:
        file.write("text")
    os.rename("one", "two")
    os.link("two/file", "two/other")
    os.symlink("other", "two/link")
    told = os.stat("two/link").st_nlink, os.readlink("two/link"), sorted(os.listdir("two"))
    for name in os.listdir("two"):
        os.unlink(f"two/{name}")
    os.rmdir("two")
    return told, os.path.exists("two")


def attributes():
    os.setxattr("file", "user.a", b"b")
    told = os.getxattr("file", "user.a"), os.listxattr("file")
    os.removexattr("file", "user.a")
    return told, os.listxattr("file")


def by_descriptor(file):
    number = file.fileno()
    os.fchmod(number, 0o600)
    os.utime(number, (7, 8))
    os.setxattr(number, "user.c", b"d")
    status = os.fstat(number)
    return oct(status.st_mode), status.st_mtime, os.getxattr(number, "user.c"), status.st_uid


def masked():
    os.umask(0o077)
    return made_new("masked"), made_new("other")


def made_new(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return oct(os.stat(path).st_mode)


def main():
    home = tempfile.mkdtemp()
    os.chdir(home)
    rows = [
        ("users", lambda: (os.getresuid(), os.getresgid(), os.getgroups())),
        ("fork", lambda: os.waitpid(os.fork() or os._exit(7), 0)[1]),
        ("shell", lambda: subprocess.run(["sh", "-c", "exit 3"]).returncode),
        ("spawn", lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1]),
        ("not there", lambda: subprocess.run(["/bin/nothing"])),
        ("shadow", lambda: open("/etc/shadow")),
        ("passwd", lambda: len(open("/etc/passwd").read()) > 10),
        ("to write", lambda: open("/etc/passwd", "a")),
        ("owner", lambda: (os.stat("/etc/passwd").st_uid, oct(os.stat("/etc/passwd").st_mode))),
        ("secret", lambda: os.stat("/root/secret")),
        ("list", lambda: sorted(os.listdir("/"))[:3]),
        ("list root's", lambda: os.listdir("/root")),
        ("go to root's", lambda: os.chdir("/root")),
        ("mkdir", lambda: os.mkdir("/etc/made")),
        ("unlink", lambda: os.unlink("/etc/passwd")),
        ("rename", lambda: os.rename("/etc/passwd", "/etc/other")),
        ("access", lambda: [os.access("/etc/passwd", mode) for mode in (os.R_OK, os.W_OK, os.X_OK)]),
        ("access, effective", lambda: os.access("/etc/shadow", os.R_OK, effective_ids=True)),
        ("init", lambda: os.kill(1, signal.SIGTERM)),
        ("signals", caught),
        ("kill", lambda: killed("one")),
        ("killpg", lambda: killed("group")),
        ("be root", lambda: os.setuid(0)),
        ("be oneself", lambda: os.setuid(os.getuid())),
        ("groups", lambda: os.setgroups([0])),
        ("threads", in_threads),
        ("tcp", over_tcp),
        ("low port", lambda: socket.socket().bind(("", 80))),
        ("unix", over_unix),
        ("chmod of root's", lambda: os.chmod("/etc/passwd", 0o777)),
        ("chmod", lambda: made("file", 0o640)),
        ("chmod to set-id", lambda: made("file", 0o4755)),
        ("chown", lambda: os.chown("file", 0, 0)),
        ("utime", lambda: (os.utime("file", (5, 6)), os.stat("file").st_mtime)[1]),
        ("by descriptor", lambda: with_file("file", by_descriptor)),
        ("attributes", attributes),
        ("trusted", lambda: os.setxattr("file", "trusted.a", b"b")),
        ("names", renamed),
        ("walk", walked),
        ("beneath", lambda: beneath(os.O_RDONLY | os.O_DIRECTORY)),
        ("beneath a name", lambda: beneath(os.O_PATH)),
        ("status", lambda: [line for line in open("/proc/self/status") if line.startswith("Uid")]),
        ("exe", lambda: os.readlink("/proc/self/exe")),
        ("init's memory", lambda: open("/proc/1/mem", "rb")),
        ("temporary", lambda: tempfile.TemporaryFile().write(b"x")),
        ("waiting", alarmed),
        ("umask", masked),
        ("again, to write", lambda: again("/etc/passwd", "r+")),
        ("again, to read", lambda: len(again("/etc/passwd", "r").read()) > 10),
        ("truncate of root's", lambda: os.truncate("/etc/passwd", 0)),
        ("truncate of a pipe", lambda: os.truncate("pipe", 0)),
        ("statvfs", lambda: os.statvfs("/").f_bsize),
        ("truncate", lambda: (os.truncate("file", 9), os.stat("file").st_size)[1]),
        ("mknod", lambda: os.mknod("node", 0o20666, os.makedev(1, 3))),
        ("chroot", lambda: os.chroot("/")),
        ("parent", lambda: os.getppid() > 1),
        ("nice", lambda: os.nice(1)),
        ("nicer", lambda: os.nice(-5)),
        ("limit", lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 100),
        ("session", lambda: os.getsid(0) > 1),
        ("host name", lambda: socket.sethostname("other")),
        ("null", lambda: open("/dev/null", "w").write("x")),
        ("terminal", lambda: open("/dev/tty")),
        ("script", lambda: subprocess.run(["sh", "-c", "cd /usr && pwd && id -un"], capture_output=True).stdout),
    ]
    for name, what in rows:
        tell(name, what)
    os.chdir("/")
    subprocess.run(["rm", "-r", home])


main()
