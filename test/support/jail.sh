# sh jail.sh <directory ...> -- <command ...>: runs a command for which the directories are empty.
set -e
while [ "$1" != -- ]; do
  mount -t tmpfs -o ro tendril-jail "$1"
  shift
done
shift
exec "$@"
