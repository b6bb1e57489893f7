{#- The folder of landed files. -#}
{% macro lake_folder() -%}{{ env_var('OMS_LAKE_FOLDER', env_var('OMS_HOME', 'var') ~ '/lake') }}/changes{%- endmacro %}

{#-
    The name of the newest file that a whole build has gone through, '' before the first one and in
    a full refresh. File names sort in commit order. It advances only with the last model of a
    build, so a build that stops half way is simply done again: every model replaces what it touches.
-#}
{% macro processed_up_to() -%}
    {%- if execute and not flags.FULL_REFRESH -%}
        {%- set done = adapter.get_relation(target.database, 'intermediate', 'processed_files') -%}
        {%- if done is not none -%}
            {{- run_query('select max(file_name) from ' ~ done).columns[0][0] or '' -}}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{#-
    The name of the newest file that was there when this build began, '' for an empty lake. All
    models read the files that were there then: one that lands while a build runs waits for the next
    one, or some of the models would have seen it, and it would count as processed for the others.
-#}
{% macro landed_up_to() -%}
    {%- if execute -%}
        {%- set newest = "select coalesce(max(file_name), '') from intermediate.lake_files" -%}
        {{- run_query(newest).columns[0][0] -}}
    {%- endif -%}
{%- endmacro %}

{#- What there is to read after the file `since`: the lake, or nothing. -#}
{% macro changes_after(since) -%}
    {{- lake_changes() if landed_up_to() > since or not execute else no_changes() -}}
{%- endmacro %}

{#-
    Columns of those `changes` of an entity that came in files after `since`, but for the ones in
    quarantine: they broke a rule, and are neither mended nor released. `only` is a condition more.

    Every change has a `landing`: where it lies in the lake, a number that no other has; it grows
    with the file. Of many changes with large payloads find the landings first, then read these:
    whatever sorts or keeps whole rows of a great history needs more memory than there is. So does a
    correlated `exists`, which is why the quarantine is joined.
-#}
{% macro landed(changes, entity, since, columns, only='') %}
    select
        {%- for column in columns %}
        {{ column }},
        {%- endfor %}
        files.number as file_number,
        files.number * 4294967296 + changes.file_row_number as landing
    from {{ changes }} as changes
    inner join intermediate.lake_files as files on changes.filename = files.path
    left join intermediate.quarantined as aside
        on changes.epoch = aside.epoch and changes.seq = aside.seq
    where
        changes.entity = '{{ entity }}'
        and changes.filename > '{{ lake_folder() }}/{{ since }}'
        and aside.seq is null
        {%- if only %}
        and {{ only }}
        {%- endif %}
{%- endmacro %}

{#-
    A staging model: the newest state of every row of an entity, deleted rows marked.

    `declared` maps the table's columns to types; columns that the shop has added come after them.
    Of a row's changes the one with the greatest (epoch, seq) wins: a writer draws seq while holding
    the row's lock. A file may bring a state that is older than the one already here: on PostgreSQL
    a transaction that began first can commit its change of a row last, and a file may be landed
    again.

    `only` is a condition on the changes, where not all of them are states of interest. `days` names
    columns that have the shop's day of a moment, where models look for the rows of a day: to work
    it out for all rows of a great history takes seconds.
-#}
{% macro stage(entity, declared, only='', days={}) %}
{%- set own = var('own_columns') -%}
{%- set fields = dict(declared, **(own.get(entity, {}) if own is mapping else {})) -%}
{%- set since = processed_up_to() if is_incremental() else '' -%}
{%- set changes = changes_after(since) -%}
with brought as (
    {{- landed(changes, entity, since, ['changes.entity_id', 'changes.epoch', 'changes.seq'], only) }}
),

newest as (
    select {{ newest_landing() }} as landing
    from brought
    {%- if is_incremental() %}
    where
        not exists (
            select 1 from {{ this }} as known
            where
                known.id = brought.entity_id
                and (
                    known._epoch > brought.epoch
                    or (known._epoch = brought.epoch and known._seq >= brought.seq)
                )
        )
    {%- endif %}
    group by entity_id
),

whole as (
    {{- landed(changes, entity, since, [
        'changes.op as _op',
        'changes.epoch as _epoch',
        'changes.xid as _xid',
        'changes.seq as _seq',
        'files.file_name as _file',
        'changes.payload'
    ], only) }}
),

-- Only what stays is taken apart: a row changes several times in its life.
kept as (
    select
        whole.*,
        {{ json_fields('payload', fields) }} as fields
    from whole
    where landing in (select newest.landing from newest)
)

select
    {%- for name, type in fields.items() %}
    cast(fields.{{ name }} as {{ type }}) as {{ name }},
    {%- endfor %}
    {%- for name, moment in days.items() %}
    {{ shop_day('cast(fields.' ~ moment ~ ' as timestamptz)') }} as {{ name }},
    {%- endfor %}
    _op,
    _epoch,
    _xid,
    _seq,
    _file
from kept
{% endmacro %}

{#-
    Every state that the rows of an entity ever had, one row a change, for history by version.

    Columns `entity_id`, the fields, `_op`, `_epoch`, `_seq`, `_file`, and `changed_at`, the moment of
    the change. A change that lands again is taken once. What the shop was before the first load of
    the lake is not known: the first state of such a row is the one that was loaded.
-#}
{% macro versions(entity, fields) %}
{%- set since = processed_up_to() if is_incremental() else '' -%}
{%- set changes = changes_after(since) -%}
with brought as (
    {{- landed(changes, entity, since, ['changes.entity_id', 'changes.epoch', 'changes.seq']) }}
),

firsts as (
    select min(landing) as landing
    from brought
    {%- if is_incremental() %}
    where
        not exists (
            select 1 from {{ this }} as known
            where
                known.entity_id = brought.entity_id
                and known._epoch = brought.epoch
                and known._seq = brought.seq
        )
    {%- endif %}
    group by entity_id, epoch, seq
),

whole as (
    {{- landed(changes, entity, since, [
        'changes.entity_id',
        'changes.op as _op',
        'changes.epoch as _epoch',
        'changes.seq as _seq',
        'changes.occurred_at as changed_at',
        'files.file_name as _file',
        'changes.payload'
    ]) }}
),

kept as (
    select
        whole.*,
        {{ json_fields('payload', fields) }} as fields
    from whole
    where landing in (select firsts.landing from firsts)
)

select
    entity_id,
    {%- for name, type in fields.items() %}
    cast(fields.{{ name }} as {{ type }}) as {{ name }},
    {%- endfor %}
    changed_at,
    _op,
    _epoch,
    _seq,
    _file
from kept
{% endmacro %}
