{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('order_id', ref('int_touched_orders')) }}"
    )
}}
-- On a day the version holds for which from_day <= day < until_day (or until_day is empty): of several
-- versions within a day only the last has a day of its own.
with versions as (
    select
        versions.*,
        row_number() over (
            partition by versions.entity_id order by versions._epoch, versions._seq
        ) as place,
        lag(versions.status) over (
            partition by versions.entity_id order by versions._epoch, versions._seq
        ) as status_before,
        coalesce(
            lag(versions.hold_reason) over (
                partition by versions.entity_id order by versions._epoch, versions._seq
            ), ''
        ) as hold_reason_before,
        lag(versions.deliver_by) over (
            partition by versions.entity_id order by versions._epoch, versions._seq
        ) as deliver_by_before
    from {{ ref('int_order_versions') }} as versions
    inner join {{ ref('int_touched_orders') }} as touched on versions.entity_id = touched.order_id
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
        or status <> status_before
        or coalesce(hold_reason, '') <> hold_reason_before
        or deliver_by <> deliver_by_before
        or (deliver_by is null) <> (deliver_by_before is null)
)

select
    entity_id as order_id,
    number as order_number,
    cast(version as integer) as version,
    status,
    hold_reason,
    deliver_by,
    changed_by,
    changed_at as from_at,
    replaced_at as until_at,
    {{ shop_day('changed_at') }} as from_day,
    {{ shop_day('replaced_at') }} as until_day
from changed
where _op <> 'D'
