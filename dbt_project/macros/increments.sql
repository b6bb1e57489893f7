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
