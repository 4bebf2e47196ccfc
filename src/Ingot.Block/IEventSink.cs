namespace Ingot.Block;

/// <summary>A node that wants to know what the layer above it is about to do (driver blkdebug). Told on the node's loop, right before the request.</summary>
public interface IEventSink
{
    /// <summary>Something is about to happen.</summary>
    /// <param name="eventName">One of <see cref="BlockEvents"/>.</param>
    void Signal(string eventName);
}

/// <summary>Names of what formats do with the file below them.</summary>
public static class BlockEvents
{
    /// <summary>The guest's bytes are read.</summary>
    public const string ReadData = "read_aio";

    /// <summary>The guest's bytes are written.</summary>
    public const string WriteData = "write_aio";

    /// <summary>A part of an L2 table is read.</summary>
    public const string LoadL2 = "l2_load";

    /// <summary>A part of an L2 table is written.</summary>
    public const string UpdateL2 = "l2_update";

    /// <summary>A part of the L1 table is written.</summary>
    public const string UpdateL1 = "l1_update";

    /// <summary>A part of a refcount block is read.</summary>
    public const string LoadRefcounts = "refblock_load";

    /// <summary>A part of a refcount block is written.</summary>
    public const string UpdateRefcounts = "refblock_update_part";

    /// <summary>A part of the refcount table is written.</summary>
    public const string UpdateRefcountTable = "reftable_update";

    /// <summary>What surrounds new bytes is written to their cluster.</summary>
    public const string WriteCopy = "cow_write";

    /// <summary>What was read from a backing file is stored above it.</summary>
    public const string WriteReadCopy = "cor_write";

    /// <summary>The file is made durable.</summary>
    public const string Flush = "flush_to_disk";

    private static readonly HashSet<string> Known =
    [
        "none", ReadData, WriteData, LoadL2, UpdateL2, UpdateL1, LoadRefcounts, UpdateRefcounts, UpdateRefcountTable, WriteCopy, WriteReadCopy, Flush,
        "l1_grow_alloc_table", "l1_grow_write_table", "l1_grow_activate_table", "l2_update_compressed", "l2_alloc_cow_read", "l2_alloc_write",
        "read_backing_aio", "read_compressed", "vmstate_load", "vmstate_save", "cow_read", "reftable_load", "reftable_grow", "refblock_update",
        "refblock_alloc", "refblock_alloc_hookup", "refblock_alloc_write", "refblock_alloc_write_blocks", "refblock_alloc_write_table",
        "refblock_alloc_switch_table", "cluster_alloc", "cluster_alloc_bytes", "cluster_free", "flush_to_os", "pwritev_rmw_head",
        "pwritev_rmw_after_head", "pwritev_rmw_tail", "pwritev_rmw_after_tail", "pwritev", "pwritev_zero", "pwritev_done", "empty_image_prepare",
        "l1_shrink_write_table", "l1_shrink_free_l2_clusters", "cluster_alloc_space",
    ];

    /// <summary>Whether a name is that of an event; also of those that no format here signals.</summary>
    /// <param name="name">The name.</param>
    /// <returns>True when it is.</returns>
    public static bool IsKnown(string name) => Known.Contains(name);
}
