{#- The folder of landed files. -#}
{% macro lake_folder() -%}{{ env_var('OMS_HOME', 'var') }}/lake/changes{%- endmacro %}

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
    A staging model: the newest state of every row of an entity, deleted rows marked.

    `fields` maps the table's columns to types. Of a row's changes the one with the greatest
    (epoch, seq) wins: a writer draws seq while holding the row's lock. A file may bring a state that
    is older than the one already here: on PostgreSQL a transaction that began first can commit its
    change of a row last, and a file may be landed again.
-#}
{% macro stage(entity, fields) %}
{%- set since = processed_up_to() if is_incremental() else '' -%}
with landed as (
    select
        entity_id,
        op as _op,
        epoch as _epoch,
        seq as _seq,
        filename as _path,
        {{ json_fields('payload', fields) }} as fields
    from {{ lake_changes() }}
    where
        entity = '{{ entity }}'
        {%- if since %}
        and filename > '{{ lake_folder() }}/{{ since }}'
        {%- endif %}
),

ranked as (
    select
        *,
        row_number() over (
            partition by entity_id order by _epoch desc, _seq desc, _path
        ) as recency
    from landed
)

select
    {%- for name, type in fields.items() %}
    cast(fields.{{ name }} as {{ type }}) as {{ name }},
    {%- endfor %}
    _op,
    _epoch,
    _seq,
    replace(_path, '{{ lake_folder() }}/', '') as _file
from ranked
where
    recency = 1
    {%- if is_incremental() %}
    and not exists (
        select 1 from {{ this }} as known
        where
            known.id = ranked.entity_id
            and (
                known._epoch > ranked._epoch
                or (known._epoch = ranked._epoch and known._seq >= ranked._seq)
            )
    )
    {%- endif %}
{% endmacro %}

{#- Money: minor units of the base currency to decimals, exactly. -#}
{% macro money(minor) -%}cast(({{ minor }}) * 0.01 as decimal(18, 2)){%- endmacro %}

{#- The last day of the daily marts: the run's business date, or the shop's today. -#}
{% macro business_date() -%}
    {%- if var('business_date') -%}
        cast('{{ var("business_date") }}' as date)
    {%- else -%}
        {{ shop_day('current_timestamp') }}
    {%- endif -%}
{%- endmacro %}

{#- Before an increment: remove the rows of the keys that it brings again. -#}
{% macro forget(keys, touched) -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where {{ keys }} in (select {{ keys }} from {{ touched }})
    {%- else -%}
        select 1 as nothing_to_forget
    {%- endif -%}
{%- endmacro %}

{#- Before an increment: remove the days that earlier, finished builds touched. -#}
{% macro forget_finished_days() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where since <> '{{ processed_up_to() }}'
    {%- else -%}
        select 1 as nothing_to_forget
    {%- endif -%}
{%- endmacro %}

{#- Before an increment of the daily stock: remove the days that it brings again, and later ones. -#}
{% macro forget_stock_from_day() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where day > {{ business_date() }} or exists (
            select 1 from {{ ref('int_touched_stock') }} as touched
            where
                touched.warehouse_id = {{ this }}.warehouse_id
                and touched.sku_id = {{ this }}.sku_id
                and touched.from_day <= {{ this }}.day
        )
    {%- else -%}
        select 1 as nothing_to_forget
    {%- endif -%}
{%- endmacro %}
