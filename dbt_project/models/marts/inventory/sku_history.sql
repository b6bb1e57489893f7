{{ config(materialized='table') }}
-- On a day the version holds for which from_day <= day < until_day (or until_day is empty): of several
-- versions within a day only the last has a day of its own.
with versions as (
    select
        *,
        row_number() over (partition by entity_id order by _epoch, _seq) as place,
        lag(code) over (partition by entity_id order by _epoch, _seq) as code_before,
        lag(price_minor) over (partition by entity_id order by _epoch, _seq) as price_minor_before,
        lag(is_active) over (partition by entity_id order by _epoch, _seq) as is_active_before,
        lag(category) over (partition by entity_id order by _epoch, _seq) as category_before
    from {{ ref('int_sku_versions') }}
),

changed as (
    select
        *,
        lead(changed_at) over (partition by entity_id order by _epoch, _seq) as replaced_at,
        row_number() over (partition by entity_id order by _epoch, _seq) as version
    from versions
    where
        _op = 'D'
        or place = 1
        {%- for column in ['code', 'price_minor', 'is_active', 'category'] %}
        or {{ column }} <> {{ column }}_before
        {%- endfor %}
)

select
    entity_id as sku_id,
    code as sku,
    cast(version as integer) as version,
    category,
    {{ money('price_minor') }} as unit_price,
    is_active,
    changed_by,
    changed_at as from_at,
    replaced_at as until_at,
    {{ shop_day('changed_at') }} as from_day,
    {{ shop_day('replaced_at') }} as until_day
from changed
where _op <> 'D'
