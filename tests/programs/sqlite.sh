#!/bin/bash
# sqlite3: queries, transactions in both journals, two connections at once, and writers that are killed in the middle:
# all that was committed is there, nothing else is, and the file is whole.
dir=$(mktemp -d)
cd "$dir" || exit
trap 'rm -rf "$dir"' EXIT

sqlite3 a.db <<'SQL'
create table items (id integer primary key, name text, price real, tags text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
  insert into items select i, 'item ' || (i * 7919 % 10007), i * 1.25 / 3, json_array(i % 7, i % 11) from n;
create index by_name on items (name);
select count(*), sum(price), max(name) from items;
select name, count(*) c from items group by name having c > 2 order by c desc, name limit 5;
select json_extract(tags, '$[1]') t, avg(price), group_concat(id % 3, '') from items where id < 200 group by t order by t;
select id, sum(price) over (order by id rows 3 preceding) from items where id % 9973 = 1;
create virtual table text using fts5(body);
insert into text select 'the ' || name || ' is number ' || id from items where id < 2000;
select count(*) from text where text match 'number 7*';
explain query plan select * from items where name = 'item 5';
begin; delete from items where id % 2; select count(*) from items; rollback;
select count(*) from items;
vacuum;
pragma integrity_check;
insert into items (id) values (5);
SQL
echo "exit code $?"
sqlite3 a.db .dump | sha256sum

writer() { # JOURNAL: says each transaction's number once it is committed
  { echo "pragma journal_mode=$1; pragma synchronous=normal; create table log (batch, row);"
    for batch in {1..3000}; do
      echo 'begin;'
      for row in 1 2 3 4 5; do echo "insert into log values ($batch, $row || hex(zeroblob(300)));"; done
      echo "commit; select 'committed', $batch;"
    done; } | stdbuf -oL sqlite3 "$1.db"
}
for journal in wal delete; do
  : >said # here, not when the writer gets to it
  writer $journal >>said 2>errors &
  until [ "$(wc -l <said)" -gt 150 ]; do sleep 0.02; done
  pkill -KILL -x sqlite3
  wait
  said=$(tail -n 1 said)
  head -n 1 said
  [ -s "$journal.db-journal" ] || [ -s "$journal.db-wal" ] || [ $journal = delete ] && echo 'killed in the middle'
  sqlite3 "$journal.db" 'pragma integrity_check'
  sqlite3 "$journal.db" "select 'whole batches', min(n), max(n) from (select count(*) n from log group by batch)"
  stored=$(sqlite3 "$journal.db" 'select max(batch) from log')
  # A commit may have gone through before the writer could say so; one.
  [ "$((stored - ${said##*|}))" -ge 0 ] && [ "$((stored - ${said##*|}))" -le 1 ] && echo "$journal: all that was committed"
  sqlite3 "$journal.db" "pragma wal_checkpoint(truncate); insert into log values (0, 'after'); select count(*) from log where batch = 0"
done

# Two writers and a reader on one file in WAL mode, waiting for each other.
sqlite3 shared.db 'pragma journal_mode=wal; create table t (who, i)'
for who in 1 2; do
  for i in {1..100}; do echo "insert into t values ($who, $i);"; done | sqlite3 -cmd '.timeout 60000' shared.db &
done
for i in {1..20}; do sqlite3 -cmd '.timeout 60000' shared.db 'select count(*) from t' >/dev/null || echo "reader failed"; done
wait
sqlite3 shared.db 'select who, count(*), sum(i) from t group by who; pragma integrity_check'
