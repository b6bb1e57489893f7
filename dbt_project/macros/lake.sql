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
    models read up to it: a file that lands while a build runs waits for the next one, or some of
    the models would have seen it, and it would count as processed for the others.
-#}
{% macro landed_up_to() -%}
    {%- if execute -%}
        {{- run_query('select file_name from intermediate.lake_horizon').columns[0][0] -}}
    {%- endif -%}
{%- endmacro %}

{#-
    Whether a change is in quarantine: it broke a rule, and is neither mended nor released. The
    table is made from the lake's list before every build (note_horizon).
-#}
{% macro is_set_aside(change) -%}
    exists (
        select 1 from intermediate.quarantined as aside
        where aside.epoch = {{ change }}.epoch and aside.seq = {{ change }}.seq
    )
{%- endmacro %}

{#-
    A staging model: the newest state of every row of an entity, deleted rows marked.

    `declared` maps the table's columns to types; columns that the shop has added come after them.
    Of a row's changes the one with the greatest (epoch, seq) wins: a writer draws seq while holding
    the row's lock. A file may bring a state that is older than the one already here: on PostgreSQL
    a transaction that began first can commit its change of a row last, and a file may be landed
    again.

    `only` is a condition on the changes, where not all of them are states of interest.
-#}
{% macro stage(entity, declared, only='') %}
{%- set own = var('own_columns') -%}
{%- set fields = dict(declared, **(own.get(entity, {}) if own is mapping else {})) -%}
{%- set since = processed_up_to() if is_incremental() else '' -%}
{%- set upto = landed_up_to() -%}
with landed as (
    select
        entity_id,
        op as _op,
        epoch as _epoch,
        xid as _xid,
        seq as _seq,
        filename as _path,
        {#- Of a few states a row all are taken apart at once: whole payloads would fill the memory. #}
        {{ json_fields('payload', fields) ~ ' as fields' if only else 'payload' }}
    from {{ lake_changes() if upto > since or not execute else no_changes() }} as changes
    where
        entity = '{{ entity }}'
        and not {{ is_set_aside('changes') }}
        and filename > '{{ lake_folder() }}/{{ since }}'
        and filename <= '{{ lake_folder() }}/{{ upto }}'
        {%- if only %}
        and {{ only }}
        {%- endif %}
),

ranked as (
    select
        *,
        row_number() over (
            partition by entity_id order by _epoch desc, _seq desc, _path
        ) as recency
    from landed
),

-- Only what stays is taken apart: a row changes several times in its life.
newest as (
    select
        *
        {%- if not only %},
        {{ json_fields('payload', fields) }} as fields
        {%- endif %}
    from ranked
    where recency = 1
)

select
    {%- for name, type in fields.items() %}
    cast(fields.{{ name }} as {{ type }}) as {{ name }},
    {%- endfor %}
    _op,
    _epoch,
    _xid,
    _seq,
    replace(_path, '{{ lake_folder() }}/', '') as _file
from newest
{%- if is_incremental() %}
where
    not exists (
        select 1 from {{ this }} as known
        where
            known.id = newest.entity_id
            and (
                known._epoch > newest._epoch
                or (known._epoch = newest._epoch and known._seq >= newest._seq)
            )
    )
{%- endif %}
{% endmacro %}

{#-
    Every state that the rows of an entity ever had, one row a change, for history by version.

    Columns `entity_id`, the fields, `_op`, `_epoch`, `_seq`, `_file`, and `changed_at`, the moment of
    the change. A change that lands again is taken once. What the shop was before the first load of
    the lake is not known: the first state of such a row is the one that was loaded.
-#}
{% macro versions(entity, fields) %}
{%- set since = processed_up_to() if is_incremental() else '' -%}
{%- set upto = landed_up_to() -%}
with landed as (
    select
        entity_id,
        op as _op,
        epoch as _epoch,
        seq as _seq,
        occurred_at as changed_at,
        filename as _path,
        {{ json_fields('payload', fields) }} as fields,
        row_number() over (partition by entity_id, epoch, seq order by filename) as repetition
    from {{ lake_changes() if upto > since or not execute else no_changes() }} as changes
    where
        entity = '{{ entity }}'
        and not {{ is_set_aside('changes') }}
        and filename > '{{ lake_folder() }}/{{ since }}'
        and filename <= '{{ lake_folder() }}/{{ upto }}'
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
    replace(_path, '{{ lake_folder() }}/', '') as _file
from landed
where
    repetition = 1
{%- if is_incremental() %}
    and not exists (
        select 1 from {{ this }} as known
        where
            known.entity_id = landed.entity_id
            and known._epoch = landed._epoch
            and known._seq = landed._seq
    )
{%- endif %}
{% endmacro %}
