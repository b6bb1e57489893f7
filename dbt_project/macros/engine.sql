{#-
    What only an engine can say, each behind a dispatched macro: the models themselves are portable
    SQL, and another engine needs only its own versions of these.
-#}

{#- The shop's calendar day of a moment. -#}
{% macro shop_day(moment) -%}{{ adapter.dispatch('shop_day')(moment) }}{%- endmacro %}
{% macro default__shop_day(moment) -%}
    cast({{ moment }} at time zone '{{ env_var("OMS_TIMEZONE", "America/New_York") }}' as date)
{%- endmacro %}

{#- Hours between two moments, with their fraction. -#}
{% macro hours_between(earlier, later) -%}
    {{ adapter.dispatch('hours_between')(earlier, later) }}
{%- endmacro %}
{% macro default__hours_between(earlier, later) -%}
    date_diff('second', {{ earlier }}, {{ later }}) / 3600.0
{%- endmacro %}

{#- Whole days from one date to another. -#}
{% macro days_between(earlier, later) -%}
    {{ adapter.dispatch('days_between')(earlier, later) }}
{%- endmacro %}
{% macro default__days_between(earlier, later) -%}
    cast(date_diff('day', {{ earlier }}, {{ later }}) as integer)
{%- endmacro %}

{#- A date some days later (or earlier, for a negative number). -#}
{% macro add_days(day, days) -%}{{ adapter.dispatch('add_days')(day, days) }}{%- endmacro %}
{% macro default__add_days(day, days) -%}
    cast({{ day }} + ({{ days }}) * interval 1 day as date)
{%- endmacro %}

{#- One row a day, column `day`, from one date to another, both included. -#}
{% macro days_from_to(first, last) -%}
    {{ adapter.dispatch('days_from_to')(first, last) }}
{%- endmacro %}
{% macro default__days_from_to(first, last) -%}
    select cast(unnest(generate_series({{ first }}, {{ last }}, interval 1 day)) as date) as day
{%- endmacro %}

{#-
    The value below which a share of the group's values lies, interpolated as a double: between two
    decimals it would be rounded to a cent, and might become one of the values.
-#}
{% macro quantile(column, share) -%}
    {{ adapter.dispatch('quantile')(column, share) }}
{%- endmacro %}
{% macro default__quantile(column, share) -%}
    percentile_cont({{ share }}) within group (order by cast({{ column }} as double))
{%- endmacro %}

{#- JSON text as a struct of typed fields, in one pass over it. -#}
{% macro json_fields(column, fields) -%}
    {{ adapter.dispatch('json_fields')(column, fields) }}
{%- endmacro %}
{% macro default__json_fields(column, fields) -%}
    {#- Moments come as ...Z from SQLite and +00:00 from PostgreSQL: text first, then cast. -#}
    {%- set types = {} -%}
    {%- for name, type in fields.items() -%}
        {%- do types.update({name: 'VARCHAR' if type == 'timestamptz' else type | upper}) -%}
    {%- endfor -%}
    json_transform({{ column }}, '{{ tojson(types) }}')
{%- endmacro %}

{#- The landed changes, with the name of the file that each came in and its number therein. -#}
{% macro lake_changes() -%}{{ adapter.dispatch('lake_changes')() }}{%- endmacro %}
{% macro default__lake_changes() -%}
    read_parquet('{{ lake_folder() }}/*.parquet', filename = true, file_row_number = true)
{%- endmacro %}

{#- The same columns without a row, where there is no new file to read. -#}
{% macro no_changes() -%}{{ adapter.dispatch('no_changes')() }}{%- endmacro %}
{% macro default__no_changes() -%}
    (
        select
            cast(null as integer) as epoch,
            cast(null as bigint) as xid,
            cast(null as bigint) as seq,
            cast(null as varchar) as entity,
            cast(null as bigint) as entity_id,
            cast(null as varchar) as op,
            cast(null as integer) as version,
            cast(null as varchar) as payload,
            cast(null as timestamptz) as occurred_at,
            cast(null as varchar) as filename,
            cast(null as bigint) as file_row_number
        where false
    )
{%- endmacro %}

{#-
    Of a group of `landed` changes the landing of the newest: that of the greatest (epoch, seq), and
    of copies the one in the first file. It compares one number, so nothing is sorted, and what a
    group needs has one size, so millions of groups can be spilled.
-#}
{% macro newest_landing() -%}{{ adapter.dispatch('newest_landing')() }}{%- endmacro %}
{% macro default__newest_landing() -%}
    {#- 20 bits for the epoch (a file's name has six digits for it), 63 for seq, 44 for the file. -#}
    arg_max(
        landing,
        (cast(epoch as hugeint) * 9223372036854775808 + seq) * 17592186044416 - file_number
    )
{%- endmacro %}

{#-
    Before every build: keep in mind which files there are, by number in the order of their names,
    and which changes are in quarantine, see landed. A lake without such changes has no list of them.
    Of the build itself: which one began before it, so that whoever copies what a build changed
    knows whether he has seen all others.
-#}
{% macro note_horizon() -%}{{ adapter.dispatch('note_horizon')() }}{%- endmacro %}
{% macro default__note_horizon() -%}
    create schema if not exists intermediate;
    create table if not exists intermediate.builds (
        id uuid, before uuid, is_full boolean, begun_at timestamptz
    );
    insert into intermediate.builds
    select
        uuid(),
        (select arg_max(builds.id, builds.begun_at) from intermediate.builds),
        {{ 'true' if flags.FULL_REFRESH else 'false' }},
        now();
    create or replace table intermediate.lake_files as
    select
        file as path,
        replace(file, '{{ lake_folder() }}/', '') as file_name,
        row_number() over (order by file) as number
    from glob('{{ lake_folder() }}/*.parquet');
    {%- set list = lake_folder() ~ '/quarantine.json' -%}
    {%- set listed = execute and run_query("select count(*) from glob('" ~ list ~ "')").columns[0][0] %}
    create or replace table intermediate.quarantined as
    select
        epoch,
        seq
    from {% if listed -%}
        read_json(
            '{{ list }}',
            format = 'array',
            columns = {'epoch': 'INTEGER', 'seq': 'BIGINT', 'decision': 'VARCHAR'}
        )
        where decision <> 'released'
    {%- else -%}
        {{ no_changes() }}
    {%- endif %}
{%- endmacro %}
