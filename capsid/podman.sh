# The first process of its pid and mount namespaces becomes podman here: $1 is the
# descriptor of the shim, the rest podman's command line.
[ "$$" = 1 ] || { echo "no pid namespace of its own" >&2; exit 125; }
set -e
mount --make-rprivate /
mount -t proc proc /proc
# crun refuses to run where control groups are of both versions, and needs none.
umount /sys/fs/cgroup/unified 2>/dev/null || :
# What podman keeps, its locks too, lies in memory that ends with this process.
mount -t tmpfs -o mode=0700 cell-podman /dev/shm
mkdir /dev/shm/fs
cat "/proc/self/fd/$1" >/dev/shm/fs/.cell-shim
chmod 0555 /dev/shm/fs/.cell-shim
printf '[storage]\ndriver = "vfs"\ngraphroot = "/dev/shm/root"\nrunroot = "/dev/shm/run"\n' >/dev/shm/storage.conf
shift
exec "$@"
