#!/usr/bin/perl
# Regular expressions of every kind, formats, sorting, and processes that talk over pipes and sockets.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use IO::Handle;
use IO::Select;
use List::Util qw(sum reduce shuffle);
use POSIX qw(:sys_wait_h floor strftime);
use Socket;
use Storable qw(freeze thaw);
use Time::HiRes qw(usleep);

$| = 1;

# A log, made and read back.
my @lines = map {
  sprintf '10.%d.%d.%d - - [%s] "%s /page/%d?q=%s HTTP/1.1" %d %d', $_ % 7, $_ % 13, $_ % 251,
    strftime('%d/%b/%Y:%H:%M:%S', gmtime(1700000000 + $_ * 37)), $_ % 5 ? 'GET' : 'POST', $_ % 97,
    'w' . 'o' x ($_ % 9), $_ % 11 ? 200 : 404, $_ * 17 % 4096
} 1 .. 20000;
my (%bytes, %codes);
for (@lines) {
  my ($host, $method, $path, $query, $code, $size) =
    m{^(\d+(?:\.\d+){3}) \S+ \S+ \[[^\]]+\] "(GET|POST) (/\S+?)\?q=(\w+) HTTP/1\.\d" (\d{3}) (\d+)$} or die $_;
  $bytes{$path} += $size;
  $codes{"$method $code"}++;
}
print join(', ', map { "$_: $codes{$_}" } sort keys %codes), "\n";
print join(' ', map { "$_=$bytes{$_}" } (sort { $bytes{$b} <=> $bytes{$a} || $a cmp $b } keys %bytes)[0 .. 4]), "\n";

# Recursion, look-around, named groups, replacement by code, Unicode.
my $balanced = qr/\((?:[^()]++|(?R))*+\)/;
my $nested = '(' x 200 . 'x' . ')' x 200;
print length(("a $nested b") =~ /($balanced)/ ? $1 : ''), "\n";
(my $grouped = '1234567890123') =~ s/(?<=\d)(?=(?:\d{3})+$)/,/g;
my $text = "the cat sat on the mat with the bat " x 2000;
(my $upper = $text) =~ s/\b(?<first>\w)(\w*at)\b/\U$+{first}\E$2/g;
my $count = () = $text =~ /(?<!the )\b\w+at\b/g;
(my $evaluated = $text) =~ s/(\w+)/length $1/ge;
print "$grouped $count ", sha256_hex($upper), ' ', sha256_hex($evaluated), "\n";
print join('|', "stra\x{df}e \x{3a9}" =~ /(\p{Ll}+)/ ? lc "\x{3a9}" eq "\x{3c9}" : 0, 'aaa' =~ /^(a{1,2}?)(a*)$/ ? "$1-$2" : 0), "\n";
my $backtracking = ('a' x 22) =~ /^(?:a?){22}a{22}$/ ? 'matched' : 'not';
print "$backtracking\n";

# Structures.
srand 42;
my %deep = map { $_ => { list => [ map { $_ * 3 } 1 .. $_ % 20 ], text => 'x' x ($_ % 50) } } 1 .. 2000;
my $copy = thaw freeze \%deep;
print sum(map { scalar @{ $_->{list} } } values %$copy), ' ', length($copy->{149}{text}), "\n";
printf "%s %.15g %e %b %o %s\n", 'x' x 10, atan2(1, 1) * 4, 12345.678, 10, 511, unpack 'H*', pack 'NnCd>w', 1, 2, 3, 1.5, 300;

# Children that answer over pipes in their own time; select tells who.
my $select = IO::Select->new;
my %names;
for my $child (1 .. 8) {
  pipe my $read, my $write or die;
  my $pid = fork // die;
  if (!$pid) {
    close $read;
    print $write sha256_hex("$child-$_"), "\n" for 1 .. 500;
    close $write;
    POSIX::_exit($child);
  }
  close $write;
  $select->add($read);
  $names{ fileno $read } = $child;
}
my %said;
while ($select->count) {
  for my $read ($select->can_read) {
    my $n = sysread $read, my $chunk, 65536;
    if ($n) { $said{ $names{ fileno $read } } .= $chunk }
    else { $select->remove($read); close $read }
  }
}
my $codes = 0;
$codes += $? >> 8 while wait > 0;
print scalar(keys %said), " children, codes $codes, ", sha256_hex(join '', map { $said{$_} } sort { $a <=> $b } keys %said), "\n";

# A shell pipeline both ways, signals, a server on loopback.
open my $sort, '|-', 'sort -n | tail -n 2' or die;
print $sort "$_\n" for shuffle(1 .. 3000);
close $sort;
open my $from, '-|', 'seq 1 5 | tr "\n" " "' or die;
print <$from>, "\n";
close $from;
my $alarms = 0;
local $SIG{ALRM} = sub { $alarms++ };
Time::HiRes::ualarm(2000, 2000);
usleep 1000 while $alarms < 20;
Time::HiRes::ualarm(0);
print $alarms >= 20 ? "alarms\n" : "none\n";
socket my $server, PF_INET, SOCK_STREAM, 0 or die;
bind $server, sockaddr_in(0, INADDR_LOOPBACK) or die "bind: $!";
listen $server, 5 or die;
my ($port) = sockaddr_in(getsockname $server);
if (!fork) {
  for (1 .. 50) {
    socket my $client, PF_INET, SOCK_STREAM, 0;
    connect $client, sockaddr_in($port, INADDR_LOOPBACK) or die "connect: $!";
    syswrite $client, "$_\n" x 100;
  }
  POSIX::_exit(0);
}
my $total = 0;
for (1 .. 50) {
  accept my $peer, $server or die;
  while (<$peer>) { $total += $_ }
}
wait;
print "$total over tcp\n";
