{#-
    Of a mart that is made by increments the rows that this build brought, where the run says which
    those are (`touched_rows`, after a build that tested all on the same day); else all of it.

    A rule that holds row by row stays true of what no build touches. What breaks without a build is
    found by the first build of the next day.
-#}
{% macro brought(relation) -%}
    {%- set known = var('touched_rows') -%}
    {%- if known is not mapping or relation.identifier not in known -%}
        {{ return(relation) }}
    {%- endif -%}
    {%- set key, touched = known[relation.identifier] -%}
    {{ return('(select * from ' ~ relation ~ ' where ' ~ key ~ ' in (select ' ~ key ~ ' from '
        ~ relation.incorporate(path={'schema': 'intermediate', 'identifier': touched})
        ~ ')) as ' ~ relation.identifier) }}
{%- endmacro %}

{#-
    What a generic test of a model looks at, in place of dbt's own macro. A row that was brought may
    be alike to one that was not: a test of uniqueness looks at all that have what a brought one has.
    And rows may lose what they point to when that is made as a whole: then all are looked at.
-#}
{% macro duckdb__get_where_subquery(relation) -%}
    {%- set rows = brought(relation) -%}
    {%- if rows is string -%}
        {%- set test = model.test_metadata -%}
        {%- if test.name in ('unique', 'unique_together') -%}
            {%- set columns = test.kwargs.columns or [test.kwargs.column_name] -%}
            {%- set names = columns | join(', ') -%}
            {%- set rows = '(select * from ' ~ relation ~ ' where (' ~ names ~ ') in (select ('
                ~ names ~ ') from ' ~ rows ~ ')) as ' ~ relation.identifier -%}
        {%- elif test.name == 'relationships' -%}
            {%- set to = modules.re.search("ref\\('(\\w+)'\\)", test.kwargs.to) -%}
            {%- if to is none or to.group(1) not in var('touched_rows') -%}
                {%- set rows = relation -%}
            {%- endif -%}
        {%- endif -%}
    {%- endif -%}
    {%- set where = config.get('where', '') -%}
    {%- if where or rows is string -%}
        {{ return('(select * from ' ~ rows ~ ' where ' ~ (where or 'true') ~ ') as dbt_subquery') }}
    {%- endif -%}
    {{ return(relation) }}
{%- endmacro %}
