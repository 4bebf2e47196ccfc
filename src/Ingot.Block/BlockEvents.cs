namespace Ingot.Block;

/// <summary>Names of what formats do with the file below them. What such an event announces is the request that comes next.</summary>
public static class BlockEvents
{
    /// <summary>The guest's bytes are read.</summary>
    public const string ReadData = "read_aio";

    /// <summary>The guest's bytes are read from the backing file.</summary>
    public const string ReadBacking = "read_backing_aio";

    /// <summary>A compressed cluster is read.</summary>
    public const string ReadCompressed = "read_compressed";

    /// <summary>The guest's bytes are written.</summary>
    public const string WriteData = "write_aio";

    /// <summary>A compressed cluster is written.</summary>
    public const string WriteCompressed = "write_compressed";

    /// <summary>A virtual machine's state is read.</summary>
    public const string LoadVmState = "vmstate_load";

    /// <summary>A virtual machine's state is written.</summary>
    public const string SaveVmState = "vmstate_save";

    /// <summary>What surrounds new bytes is read.</summary>
    public const string ReadCopy = "cow_read";

    /// <summary>What surrounds new bytes is written to their cluster.</summary>
    public const string WriteCopy = "cow_write";

    /// <summary>What was read from a backing file is stored above it.</summary>
    public const string WriteReadCopy = "cor_write";

    /// <summary>A part of an L2 table is read.</summary>
    public const string LoadL2 = "l2_load";

    /// <summary>A part of an L2 table is written.</summary>
    public const string UpdateL2 = "l2_update";

    /// <summary>An L2 entry comes to name a compressed cluster.</summary>
    public const string UpdateL2Compressed = "l2_update_compressed";

    /// <summary>An L2 table that a snapshot shares is read to be copied.</summary>
    public const string CopyL2 = "l2_alloc_cow_read";

    /// <summary>A new L2 table is written.</summary>
    public const string WriteNewL2 = "l2_alloc_write";

    /// <summary>A part of the L1 table is written.</summary>
    public const string UpdateL1 = "l1_update";

    /// <summary>Space for a larger L1 table is sought.</summary>
    public const string AllocateL1 = "l1_grow_alloc_table";

    /// <summary>A larger L1 table is written.</summary>
    public const string WriteNewL1 = "l1_grow_write_table";

    /// <summary>The header comes to name a larger L1 table.</summary>
    public const string SwitchL1 = "l1_grow_activate_table";

    /// <summary>The end of an L1 table is cleared because the disk gets smaller.</summary>
    public const string ClearL1 = "l1_shrink_write_table";

    /// <summary>The L2 tables of the end are given up.</summary>
    public const string FreeL2 = "l1_shrink_free_l2_clusters";

    /// <summary>The refcount table is read.</summary>
    public const string LoadRefcountTable = "reftable_load";

    /// <summary>A larger refcount table is made.</summary>
    public const string GrowRefcountTable = "reftable_grow";

    /// <summary>The header comes to name an empty refcount table.</summary>
    public const string UpdateRefcountTable = "reftable_update";

    /// <summary>A refcount block is sought whose counts change.</summary>
    public const string FindRefcounts = "refblock_alloc";

    /// <summary>Counts of a refcount block change, which needs the block.</summary>
    public const string LoadRefcounts = "refblock_load";

    /// <summary>A part of a refcount block is written.</summary>
    public const string UpdateRefcounts = "refblock_update_part";

    /// <summary>A new refcount block is written.</summary>
    public const string WriteNewRefcounts = "refblock_alloc_write";

    /// <summary>The refcount table comes to name a new block.</summary>
    public const string HookUpRefcounts = "refblock_alloc_hookup";

    /// <summary>The new blocks of a larger refcount table are written.</summary>
    public const string WriteTableRefcounts = "refblock_alloc_write_blocks";

    /// <summary>A larger refcount table is written.</summary>
    public const string WriteNewRefcountTable = "refblock_alloc_write_table";

    /// <summary>The header comes to name a larger refcount table.</summary>
    public const string SwitchRefcountTable = "refblock_alloc_switch_table";

    /// <summary>Space is sought for clusters.</summary>
    public const string AllocateClusters = "cluster_alloc";

    /// <summary>Space is sought for a compressed cluster.</summary>
    public const string AllocateBytes = "cluster_alloc_bytes";

    /// <summary>References of clusters are dropped.</summary>
    public const string FreeClusters = "cluster_free";

    /// <summary>The metadata of an image that is emptied is overwritten.</summary>
    public const string EmptyImage = "empty_image_prepare";

    /// <summary>Tables are written because the guest wants a flush.</summary>
    public const string FlushTables = "flush_to_os";

    /// <summary>The file is made durable.</summary>
    public const string Flush = "flush_to_disk";

    /// <summary>The first block of a write, which covers it in part, is read.</summary>
    public const string ReadHead = "pwritev_rmw_head";

    /// <summary>The first block of a write was read.</summary>
    public const string HeadRead = "pwritev_rmw_after_head";

    /// <summary>The last block of a write, which covers it in part, is read.</summary>
    public const string ReadTail = "pwritev_rmw_tail";

    /// <summary>The last block of a write was read.</summary>
    public const string TailRead = "pwritev_rmw_after_tail";

    /// <summary>Whole blocks are written.</summary>
    public const string WriteBlocks = "pwritev";

    /// <summary>Whole blocks are zeroed.</summary>
    public const string ZeroBlocks = "pwritev_zero";

    /// <summary>Whole blocks were written or zeroed, or could not be.</summary>
    public const string BlocksWritten = "pwritev_done";

    /// <summary>New clusters become zeroes before the guest's bytes are written to a part of them.</summary>
    public const string ZeroNewClusters = "cluster_alloc_space";

    private static readonly HashSet<string> Known =
    [
        "none", ReadData, ReadBacking, ReadCompressed, WriteData, WriteCompressed, LoadVmState, SaveVmState, ReadCopy, WriteCopy, WriteReadCopy,
        LoadL2, UpdateL2, UpdateL2Compressed, CopyL2, WriteNewL2, UpdateL1, AllocateL1, WriteNewL1, SwitchL1, ClearL1, FreeL2,
        LoadRefcountTable, GrowRefcountTable, UpdateRefcountTable, FindRefcounts, LoadRefcounts, UpdateRefcounts, WriteNewRefcounts, HookUpRefcounts,
        WriteTableRefcounts, WriteNewRefcountTable, SwitchRefcountTable, AllocateClusters, AllocateBytes, FreeClusters, EmptyImage, FlushTables, Flush,
        ReadHead, HeadRead, ReadTail, TailRead, WriteBlocks, ZeroBlocks, BlocksWritten, ZeroNewClusters, "refblock_update",
    ];

    /// <summary>Whether a name is that of an event; also of those that no format here signals.</summary>
    /// <param name="name">The name.</param>
    /// <returns>True when it is.</returns>
    public static bool IsKnown(string name) => Known.Contains(name);
}
