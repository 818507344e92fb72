-- What PostgreSQL needs beside the tables: search, the append-only audit log, and the clock
-- inside statements. Runs with the ledger's schema alone in the search path; bodies after
-- `return` are bound to what they name when they are created, whatever the caller's search path.

-- The counterpart of SQLite's full-text table. The program writes `search_text` already split into
-- lower-case words, as SQLite's tokenizer would.
create table telemetry_events_fts (
  event_id text collate "C" not null,
  task_id text collate "C",
  run_id text collate "C",
  actor text collate "C" not null,
  event_type text collate "C" not null,
  summary text collate "C" not null,
  attributes text collate "C" not null,
  search_text text collate "C" not null,
  search_vector tsvector generated always as (to_tsvector('pg_catalog.simple', search_text)) stored
);
-- What waits in a session's inbox; SQLite is served by the baseline's index, whose `is null`
-- column keeps PostgreSQL from reading it in order.
create index conveyor_inbox on routed_notifications (target_session_id, created_at, id)
  where state = 'delivered' and consumed_at is null;
create index conveyor_search on telemetry_events_fts using gin (search_vector);
create index conveyor_search_event on telemetry_events_fts (event_id);

create function conveyor_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'events are append-only';
end
$$;
create trigger events_no_update before update on events
  for each row execute function conveyor_append_only();
create trigger events_no_delete before delete on events
  for each row execute function conveyor_append_only();

-- The current moment in epoch milliseconds: the server's clock, unless a test has set another.
create function conveyor_now_ms() returns bigint language sql volatile
  return coalesce(
    nullif(current_setting('conveyor.now_ms', true), '')::bigint,
    floor(extract(epoch from clock_timestamp()) * 1000)::bigint
  );

-- Epoch milliseconds as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
create function conveyor_text(ms bigint) returns text language sql immutable strict
  return to_char(timestamp '1970-01-01' + ms * interval '1 millisecond', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- The current moment as it is stored.
create function conveyor_now() returns text language sql volatile
  return conveyor_text(conveyor_now_ms());

-- The end of a lease of so many seconds, at least one, rounded up to the whole second.
create function conveyor_after(seconds bigint) returns text language sql volatile
  return to_char(
    timestamp '1970-01-01'
      + ceil(conveyor_now_ms() / 1000.0 + greatest(seconds, 1))::bigint * interval '1 second',
    'YYYY-MM-DD"T"HH24:MI:SS"Z"'
  );

-- The epoch milliseconds of a stored time; null when the text is no time. Fractions may have any
-- precision, the offset may be a number. Never fails, so that one bad row spoils no report. Plain
-- functions and an expression without captures, because it is called for every row of large scans
-- (and not `strict`, because then it could not be inlined).
create function conveyor_ms(t text) returns bigint language sql immutable
  return case
    when t !~ '^\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|[12]\d))[Tt ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$'
      then null
    when substr(t, 1, 4) = '0000' then null
    when substr(t, 6, 5) = '02-29' and extract(day from make_date(substr(t, 1, 4)::int, 3, 1) - 1) = 28
      then null
    else (
      (make_date(substr(t, 1, 4)::int, substr(t, 6, 2)::int, substr(t, 9, 2)::int) - date '1970-01-01') * 86400::bigint
      + substr(t, 12, 2)::int * 3600 + substr(t, 15, 2)::int * 60 + substr(t, 18, 2)::int
      - case
          when right(t, 1) in ('Z', 'z') then 0
          else (left(right(t, 6), 1) || '1')::int
            * (left(right(t, 5), 2)::int * 3600 + right(t, 2)::int * 60)
        end
    ) * 1000
    + case
        when substr(t, 20, 1) <> '.' then 0
        else rpad(left(split_part(translate(substr(t, 21), 'Zz+-', '    '), ' ', 1), 3), 3, '0')::int
      end
  end;
