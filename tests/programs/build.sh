#!/bin/bash
# A project with make: objects in parallel, an archive, a shared library, a program of both; then what has changed alone.
set -e
dir=$(mktemp -d)
cd "$dir"
for i in 1 2 3 4 5 6; do
  printf 'int part%d(int x) { int s = 0; for (int i = 0; i < x; ++i) s += i %% %d; return s; }\n' $i $((i + 1)) >part$i.c
done
printf 'const char* Name(void) { return "shared"; }\n' >name.c
{
  echo '#include <stdio.h>'
  echo 'const char* Name(void);'
  for i in 1 2 3 4 5 6; do echo "int part$i(int);"; done
  echo 'int main(void) { printf("%s", Name());'
  for i in 1 2 3 4 5 6; do echo "  printf(\" %d\", part$i(1000));"; done
  echo '  puts(""); return 0; }'
} >main.c
cat >Makefile <<'M'
CFLAGS = -O2 -Wall -Werror -g
parts = part1.o part2.o part3.o part4.o part5.o part6.o
program: main.o libparts.a libname.so
	$(CC) -o $@ main.o libparts.a -L. -lname -Wl,-rpath,. -Wl,--build-id=none
libparts.a: $(parts)
	$(AR) rcsD $@ $(sort $^)
libname.so: name.c
	$(CC) $(CFLAGS) -fPIC -shared -o $@ $<
M
make -j3 | sort
./program
sleep 0.1  # the file shall be newer by any clock of file times
echo 'int part3(int x) { return -x; }' >part3.c
make | sed 's/.*\///'
./program
make
# The same compiler, the same sources: the same bytes.
gcc -O2 -c part1.c -o again.o && sha256sum again.o part1.c
strip -o stripped program && sha256sum stripped
objdump -d part2.o --no-show-raw-insn | sed -n '/<part2>/,$p' | sha256sum
rm -r "$dir"
