"""The steps from an empty database to the tables of today; Alembic walks them when a store is opened."""
